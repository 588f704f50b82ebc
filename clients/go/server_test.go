package featsvc_test

import (
	"context"
	"net"
	"testing"
	"time"

	"featsvc"
	pb "featsvc/gen/featsvc/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// scripted answers DinoService as a test says, and Sam2Service's streamed masks.
type scripted struct {
	pb.UnimplementedDinoServiceServer
	extract func(context.Context, *pb.DinoServiceExtractFeaturesRequest) (*pb.DinoServiceExtractFeaturesResponse, error)
	chunked func(grpc.ServerStreamingServer[pb.DinoServiceExtractFeaturesChunkedResponse]) error
	stream  func(grpc.BidiStreamingServer[pb.DinoServiceExtractFeaturesStreamRequest, pb.DinoServiceExtractFeaturesStreamResponse]) error
}

func (s *scripted) ExtractFeatures(
	ctx context.Context, request *pb.DinoServiceExtractFeaturesRequest,
) (*pb.DinoServiceExtractFeaturesResponse, error) {
	return s.extract(ctx, request)
}

func (s *scripted) ExtractFeaturesChunked(
	_ *pb.DinoServiceExtractFeaturesChunkedRequest, out grpc.ServerStreamingServer[pb.DinoServiceExtractFeaturesChunkedResponse],
) error {
	return s.chunked(out)
}

func (s *scripted) ExtractFeaturesStream(
	both grpc.BidiStreamingServer[pb.DinoServiceExtractFeaturesStreamRequest, pb.DinoServiceExtractFeaturesStreamResponse],
) error {
	return s.stream(both)
}

// serving starts the server on a free loopback port until the test ends, and gives its address.
func serving(t *testing.T, service *scripted, options ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	pb.RegisterDinoServiceServer(server, service)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// quick retries without waiting long.
var quick = featsvc.RetryPolicy{Attempts: 5, FirstDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond, Factor: 2}

func connected(t *testing.T, service *scripted) *featsvc.Client {
	t.Helper()
	client, err := featsvc.Connect(serving(t, service), featsvc.Options{Retry: &quick})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// refusal is an error with what the server says beside it.
func refusal(ctx context.Context, code codes.Code, pairs ...string) error {
	_ = grpc.SetTrailer(ctx, metadata.Pairs(pairs...))
	return status.Error(code, "refused")
}

// floats is a reply with features of the shape 1 x 1 x D.
func floats(values ...byte) *pb.DinoServiceExtractFeaturesResponse {
	return &pb.DinoServiceExtractFeaturesResponse{Features: &pb.Tensor{
		Dtype: pb.DType_D_TYPE_UINT8, Shape: []uint32{1, 1, uint32(len(values))}, Data: values,
	}}
}
