package kedge_test

import (
	"math"
	"testing"

	"github.com/kedge-sync/kedge"
)

// A NaN that went through float32 has other bits than math.NaN.
func TestNaNEqualsNaN(t *testing.T) {
	a, b := kedge.Float(math.NaN()), kedge.Float(float64(float32(math.NaN())))
	if !kedge.Equal(a, b) {
		t.Error("Equal(NaN, NaN of other bits) = false, want true")
	}
}
