package featsvc

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// RetryPolicy says when a failed call is tried again: on UNAVAILABLE and RESOURCE_EXHAUSTED, unless the server says that
// it will not help. Every call is a pure function of its request, so all may be tried again.
type RetryPolicy struct {
	// Attempts is how often a call is sent at most, the first time included.
	Attempts int
	// FirstDelay is the pause after the first failure; each further one is Factor times as long, up to MaxDelay.
	FirstDelay, MaxDelay time.Duration
	Factor               float64
	// Jitter is the part of each pause that is random, so that clients refused together do not come back together.
	Jitter float64
}

// DefaultRetry is the policy of a client that is given none.
var DefaultRetry = RetryPolicy{
	Attempts: 5, FirstDelay: 100 * time.Millisecond, MaxDelay: 10 * time.Second, Factor: 2, Jitter: 0.5,
}

// gRPC's own second before it connects again would make quick retries fail without trying.
var reconnecting = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
	MinConnectTimeout: 20 * time.Second,
}

// delay is the pause after so many failures, never less than the server asks for; chance is in [0, 1).
func (p RetryPolicy) delay(failed int, after time.Duration, chance float64) time.Duration {
	grown := float64(p.FirstDelay) * math.Pow(p.Factor, float64(failed-1))
	backoff := min(grown, float64(p.MaxDelay))
	shortened := backoff * (1 - p.Jitter*chance)
	if after == 0 {
		return time.Duration(shortened)
	}
	return time.Duration(max(shortened, float64(after)+backoff*p.Jitter*chance))
}

// pause is how long to wait after the last of so many failures; false where no other try is to be made.
func (p RetryPolicy) pause(ctx context.Context, failed int, err *Error) (time.Duration, bool) {
	retried := err.Code == codes.Unavailable || err.Code == codes.ResourceExhausted
	if !retried || err.Final || failed >= p.Attempts {
		return 0, false
	}
	delay := p.delay(failed, err.RetryAfter, rand.Float64())
	deadline, limited := ctx.Deadline()
	return delay, !limited || time.Until(deadline) > delay
}

// do makes attempts until one succeeds or another is of no use, and gives the error of the last.
func (p RetryPolicy) do(ctx context.Context, attempt func() error) error {
	for failed := 1; ; failed++ {
		err := attempt()
		if err == nil {
			return nil
		}
		var said *Error
		if !errors.As(err, &said) {
			said = asError(err, nil)
		}
		delay, again := p.pause(ctx, failed, said)
		if !again {
			return said
		}
		if err := sleep(ctx, delay); err != nil {
			return said
		}
	}
}

// unary is the interceptor that tries calls of one message again.
func (p RetryPolicy) unary(
	ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	return p.do(ctx, func() error {
		var trailer metadata.MD
		// A new slice, because append could write into that of the caller.
		withTrailer := append(opts[:len(opts):len(opts)], grpc.Trailer(&trailer))
		if err := invoke(ctx, method, request, reply, cc, withTrailer...); err != nil {
			return asError(err, trailer)
		}
		return nil
	})
}

func sleep(ctx context.Context, delay time.Duration) error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
