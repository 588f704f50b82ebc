package featsvc_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"featsvc"
	pb "featsvc/gen/featsvc/v1"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type (
	request  = pb.DinoServiceExtractFeaturesRequest
	response = pb.DinoServiceExtractFeaturesResponse
)

// asked makes one call of a server that fails so many times, and counts the attempts.
func asked(t *testing.T, ctx context.Context, failures int, fail func(context.Context) error) (attempts int, err error) {
	t.Helper()
	client := connected(t, &scripted{extract: func(ctx context.Context, _ *request) (*response, error) {
		if attempts++; attempts <= failures {
			return nil, fail(ctx)
		}
		return floats(7), nil
	}})
	_, err = client.Dino.ExtractFeatures(ctx, &request{})
	return attempts, err
}

func TestACallIsTriedAgainWhereTheServerIsUnavailable(t *testing.T) {
	attempts, err := asked(t, t.Context(), 2, func(ctx context.Context) error { return refusal(ctx, codes.Unavailable) })
	if err != nil || attempts != 3 {
		t.Errorf("%d attempts, %v", attempts, err)
	}
}

func TestAFullServerIsAskedAgainNotBeforeItSays(t *testing.T) {
	begin := time.Now()
	attempts, err := asked(t, t.Context(), 1, func(ctx context.Context) error {
		return refusal(ctx, codes.ResourceExhausted, "retry-after-ms", "150")
	})
	if waited := time.Since(begin); err != nil || attempts != 2 || waited < 150*time.Millisecond {
		t.Errorf("%d attempts after %v, %v", attempts, waited, err)
	}
}

func TestNoOtherTryIsMadeWhereItWouldNotHelp(t *testing.T) {
	for name, fail := range map[string]func(context.Context) error{
		"bad request": func(ctx context.Context) error { return refusal(ctx, codes.InvalidArgument) },
		"too large a reply": func(ctx context.Context) error {
			return refusal(ctx, codes.ResourceExhausted, "featsvc-reason", "reply-too-large")
		},
		"what ends workers": func(ctx context.Context) error {
			return refusal(ctx, codes.Unavailable, "featsvc-reason", "killed-workers")
		},
	} {
		if attempts, err := asked(t, t.Context(), 9, fail); err == nil || attempts != 1 {
			t.Errorf("%s: %d attempts, %v", name, attempts, err)
		}
	}
}

func TestAttemptsAreLimited(t *testing.T) {
	attempts, err := asked(t, t.Context(), 99, func(ctx context.Context) error { return refusal(ctx, codes.Unavailable) })
	if status.Code(err) != codes.Unavailable || attempts != quick.Attempts {
		t.Errorf("%d attempts, %v", attempts, err)
	}
}

func TestAPauseLongerThanTheDeadlineIsNotMade(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	begin := time.Now()
	_, err := asked(t, ctx, 9, func(ctx context.Context) error {
		return refusal(ctx, codes.ResourceExhausted, "retry-after-ms", "60000")
	})
	var said *featsvc.Error
	if !errors.As(err, &said) || said.RetryAfter != time.Minute || time.Since(begin) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

func TestAnErrorNamesTheBadFields(t *testing.T) {
	said, err := status.New(codes.InvalidArgument, "two bad fields").WithDetails(&errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "image", Description: "is missing"}, {Field: "params", Description: "is wrong"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = asked(t, t.Context(), 9, func(ctx context.Context) error {
		_ = refusal(ctx, codes.OK, "x-request-id", "abc")
		return said.Err()
	})
	var found *featsvc.Error
	if !errors.As(err, &found) {
		t.Fatalf("%T", err)
	}
	if len(found.Violations) != 2 || found.Violations[1] != (featsvc.Violation{"params", "is wrong"}) || found.RequestID != "abc" {
		t.Errorf("%+v", found)
	}
}

func TestTheKeyAndThePictureArriveAsGiven(t *testing.T) {
	var key, priority []string
	var content []byte
	address := serving(t, &scripted{extract: func(ctx context.Context, asked *request) (*response, error) {
		came, _ := metadata.FromIncomingContext(ctx)
		key, content = came.Get("authorization"), asked.GetImage().GetContent()
		priority = came.Get("x-featsvc-priority")
		return floats(7), nil
	}})
	client, err := featsvc.Connect(address, featsvc.Options{APIKey: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	path := filepath.Join(t.TempDir(), "picture")
	if err := os.WriteFile(path, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	picture, err := featsvc.PictureFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Dino.ExtractFeatures(featsvc.WithPriority(t.Context(), -3), &request{Image: picture}); err != nil {
		t.Fatal(err)
	}
	if len(key) != 1 || key[0] != "Bearer mine" || len(priority) != 1 || priority[0] != "-3" || string(content) != "a file" {
		t.Errorf("%q %q %q", key, priority, content)
	}
}

func TestAMessageOverTheLimitOfTheClientIsNotAskedForAgain(t *testing.T) {
	attempts := 0
	address := serving(t, &scripted{extract: func(context.Context, *request) (*response, error) {
		attempts++
		return floats(make([]byte, 4096)...), nil
	}})
	client, err := featsvc.Connect(address, featsvc.Options{MaxMessageBytes: 1024, Retry: &quick})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Dino.ExtractFeatures(t.Context(), &request{}); status.Code(err) != codes.ResourceExhausted || attempts != 1 {
		t.Errorf("%d attempts, %v", attempts, err)
	}
}
