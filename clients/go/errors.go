package featsvc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	pb "featsvc/gen/featsvc/v1"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Violation is one bad field of a request.
type Violation struct {
	// Field is its path in the request, with dots between and indices in brackets.
	Field string
	// Description says what is wrong with it.
	Description string
}

// Error is why a call, or one question of a stream, has no answer. Every error of a call is one, to be had by errors.As.
type Error struct {
	Code codes.Code
	// Message says what is wrong, and what would mend it.
	Message string
	// Violations are the bad fields, where the server names them.
	Violations []Violation
	// RetryAfter is when the server expects to have a place, where it says so.
	RetryAfter time.Duration
	// RequestID finds the call in the server's log.
	RequestID string
	// Final is set where the server says that another try will not help, though the code alone would allow it.
	Final bool
}

func (e *Error) Error() string { return fmt.Sprintf("featsvc: %s: %s", e.Code, e.Message) }

// GRPCStatus lets status.Code and status.FromError read the error.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// damaged is the error for an answer that cannot be read.
func damaged(format string, values ...any) *Error {
	return &Error{Code: codes.Internal, Message: "the answer cannot be read: " + fmt.Sprintf(format, values...)}
}

// asError is what an error of gRPC and its trailing metadata say.
func asError(err error, trailer metadata.MD) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	said := status.Convert(err)
	found := &Error{Code: said.Code(), Message: said.Message(), RequestID: first(trailer, "x-request-id")}
	for _, detail := range said.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, each := range bad.GetFieldViolations() {
				found.Violations = append(found.Violations, Violation{each.GetField(), each.GetDescription()})
			}
		}
	}
	if ms, err := strconv.ParseUint(first(trailer, "retry-after-ms"), 10, 31); err == nil {
		found.RetryAfter = time.Duration(ms) * time.Millisecond
	}
	// The server gives a reason where no other try will help, whatever the code; gRPC has only words for its own limits.
	found.Final = first(trailer, "featsvc-reason") != "" || strings.Contains(found.Message, "message larger than max")
	return found
}

// itemError is the same of one question of a stream.
func itemError(e *pb.ItemError) *Error {
	found := &Error{
		Code:       codes.Code(code.Code_value[e.GetCode()]),
		Message:    e.GetMessage(),
		RetryAfter: time.Duration(e.GetRetryAfterMs()) * time.Millisecond,
	}
	for _, each := range e.GetFieldViolations() {
		found.Violations = append(found.Violations, Violation{each.GetField(), each.GetDescription()})
	}
	found.Final = e.GetReason() != "" || (found.Code == codes.ResourceExhausted && found.RetryAfter == 0)
	return found
}

func first(trailer metadata.MD, key string) string {
	if values := trailer.Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// typedErrors makes the errors of streams Errors.
func typedErrors(
	ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := streamer(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, asError(err, nil)
	}
	return typedStream{stream}, nil
}

type typedStream struct{ grpc.ClientStream }

func (s typedStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return asError(err, s.Trailer())
}
