package conntest

import "errors"

// errFailNow is what the FailNow of a [recorder] panics with.
var errFailNow = errors.New("the property does not hold")

func asError(v any) error {
	err, _ := v.(error)
	return err
}

// A recorder is a rapid.TB that is no test, so that a check stays a function
// that returns an error. It keeps nothing but whether something failed: the
// check itself knows best what.
type recorder struct{ failed bool }

func (r *recorder) Helper()               {}
func (r *recorder) Name() string          { return "conntest" }
func (r *recorder) Logf(string, ...any)   {}
func (r *recorder) Log(...any)            {}
func (r *recorder) Skipf(string, ...any)  { r.FailNow() }
func (r *recorder) Skip(...any)           { r.FailNow() }
func (r *recorder) SkipNow()              { r.FailNow() }
func (r *recorder) Errorf(string, ...any) { r.Fail() }
func (r *recorder) Error(...any)          { r.Fail() }
func (r *recorder) Fatalf(string, ...any) { r.FailNow() }
func (r *recorder) Fatal(...any)          { r.FailNow() }
func (r *recorder) FailNow()              { r.Fail(); panic(errFailNow) }
func (r *recorder) Fail()                 { r.failed = true }
func (r *recorder) Failed() bool          { return r.failed }
