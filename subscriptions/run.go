package subscriptions

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kedge-sync/kedge/internal/store"
)

const (
	pollBusy  = 25 * time.Millisecond
	pollIdle  = 250 * time.Millisecond
	drainTime = 20 * time.Second
	houseTime = time.Minute
)

// Run fans out, delivers and keeps house until ctx ends; then it lets attempts
// in flight end, for 20 s at most, and gives its queues back.
func (s *Service) Run(ctx context.Context) error {
	w := s.worker
	if err := s.declare(ctx); err != nil {
		return err
	}
	if err := w.beat(ctx); err != nil {
		return err
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { w.heartLoop(work) })
	all.Go(func() { w.readLoop(work) })
	all.Go(func() { w.commitLoop(work) })
	all.Go(func() { s.houseLoop(work) })
	all.Go(func() { s.listenLoop(work) })
	all.Go(func() { s.proveLoop(work) })
	w.dispatchLoop(ctx)
	w.drain(work)
	stop()
	all.Wait()
	w.resign(context.WithoutCancel(ctx))
	return nil
}

// drain waits for attempts in flight, cuts them off after drainTime, and
// commits what came of them.
func (w *worker) drain(ctx context.Context) {
	w.mu.Lock()
	w.draining = true
	die := w.die
	w.mu.Unlock()
	timer := time.AfterFunc(drainTime, die)
	defer timer.Stop()
	w.sending.Wait()
	w.following.Wait()
	for {
		if n, err := w.commit(ctx); n == 0 || err != nil {
			break
		}
	}
	_ = w.release(ctx)
}

// resign ends the worker's lease.
func (w *worker) resign(ctx context.Context) {
	w.mu.Lock()
	id := w.id
	w.forget()
	w.draining = false
	w.mu.Unlock()
	if id == "" {
		return
	}
	_ = w.s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if _, err := exec(ctx, tx, "UPDATE push_queue SET holder = '', due_at = COALESCE(due_at, ?) WHERE holder = ?", w.s.now(), id); err != nil {
			return err
		}
		_, err := exec(ctx, tx, "DELETE FROM push_worker WHERE id = ?", id)
		return err
	})
}

// report logs an error of a loop that goes on.
func (s *Service) report(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		s.log.Warn("push work failed and will be tried again", "part", what, "err", err)
	}
}

func (w *worker) heartLoop(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.overdue()
		w.mu.Lock()
		dead := w.id == ""
		w.mu.Unlock()
		if !dead && time.Since(last) < workerBeat {
			continue
		}
		last = time.Now()
		beat, cancel := context.WithTimeout(ctx, workerGrace)
		w.s.report(ctx, "lease", w.beat(beat))
		cancel()
	}
}

func (w *worker) readLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.hungry:
		}
		for ctx.Err() == nil {
			some, err := w.refill(ctx)
			w.s.report(ctx, "read", err)
			if !some || err != nil {
				break
			}
		}
	}
}

func (w *worker) commitLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.notify:
		}
		w.gather(ctx)
		for ctx.Err() == nil {
			n, err := w.commit(ctx)
			w.s.report(ctx, "results", err)
			if err != nil {
				sleep(ctx, pollIdle) // never send again for a failed note of it
				continue
			}
			if n < commitResults {
				break
			}
		}
	}
}

// gather waits a little for more results, so that they share a commit.
func (w *worker) gather(ctx context.Context) {
	w.mu.Lock()
	few := len(w.results) < commitResults
	w.mu.Unlock()
	if few {
		sleep(ctx, commitWait)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// dispatchLoop fans out, claims and gives back until ctx ends.
func (w *worker) dispatchLoop(ctx context.Context) {
	s := w.s
	timer := time.NewTimer(0)
	defer timer.Stop()
	reaped := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		if time.Since(reaped) > workerBeat {
			reaped = time.Now()
			s.report(ctx, "takeover", w.reap(ctx))
		}
		busy, err := w.step(ctx)
		s.report(ctx, "dispatch", err)
		wait := pollIdle
		if busy && err == nil {
			wait = pollBusy
		}
		timer.Reset(wait)
	}
}

// step does what there is to do once, except for reading and sending, and
// reports whether there was anything.
func (w *worker) step(ctx context.Context) (busy bool, err error) {
	if err := w.follow(ctx); err != nil {
		return false, err
	}
	for ctx.Err() == nil {
		n, _, err := w.s.fanOut(ctx)
		if err != nil {
			return false, err
		}
		busy = busy || n > 0
		replaying, err := w.s.replays(ctx)
		if err != nil {
			return false, err
		}
		more, err := w.claim(ctx)
		if err != nil {
			return false, err
		}
		if n == 0 && !more && !replaying {
			break
		}
	}
	if err := w.release(ctx); err != nil {
		return false, err
	}
	w.mu.Lock()
	w.reread()
	w.set.Ripe(w.s.now())
	busy = busy || w.set.Len() > 0
	w.mu.Unlock()
	w.want() // also what could not be read the last time
	w.pump()
	return busy, nil
}
