package subscriptions

import "context"

// KeepHouse does at once what is done every minute.
func (s *Service) KeepHouse(ctx context.Context) error { return s.keepHouse(ctx) }

// Signal wakes the worker: a clock of a test was moved.
func (s *Service) Signal() { s.signal() }

// Redact is what the log of attempts keeps of an answer.
var Redact = redact

// SetHook has f called at fanout, sent and results.
func (s *Service) SetHook(f func(point string)) { s.hook = f }
