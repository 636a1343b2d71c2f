package subscriptions

import (
	"context"
	"errors"
	"time"
)

func (s *Service) houseLoop(ctx context.Context) {
	tick := time.NewTicker(houseTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.report(ctx, "housekeeping", s.keepHouse(ctx))
		}
	}
}

// keepHouse does what depends on time only.
func (s *Service) keepHouse(ctx context.Context) error {
	return errors.Join(s.expireTokens(ctx), s.forgetAnswers(ctx))
}

// notice tells operator and subscriber what happened to a subscription.
func (s *Service) notice(ctx context.Context, id, event, reason string) {}
