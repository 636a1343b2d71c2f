package httpclient

import (
	"context"
	"fmt"
	"time"
)

// A DeviceCode is what a person needs to sign in (RFC 8628, 3.2).
type DeviceCode struct {
	UserCode        string
	VerificationURI string
	ExpiresIn       time.Duration
}

// String returns the sentence to show.
func (d DeviceCode) String() string {
	return fmt.Sprintf("To sign in, open %s and enter the code %s (valid for %s).", d.VerificationURI, d.UserCode, minutes(d.ExpiresIn))
}

func minutes(d time.Duration) string {
	switch n := int(d / time.Minute); n {
	case 0:
		return fmt.Sprintf("%d seconds", int(d/time.Second))
	case 1:
		return "1 minute"
	default:
		return fmt.Sprintf("%d minutes", n)
	}
}

// A DevicePrompt shows a device code to a person.
type DevicePrompt func(context.Context, DeviceCode) error
