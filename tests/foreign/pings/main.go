// Command pings talks to a server as grpc-go does with keepalive pings every 10 seconds, through generated stubs alone:
//
//	pings ADDRESS API_KEY SECONDS
//
// It opens a stream, gets an answer, is silent for so long, and asks again over the same stream; beside it a second connection has
// no call at all. It fails where a connection has been lost.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	pb "featsvc/gen/featsvc/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

func main() {
	seconds, err := strconv.Atoi(os.Args[3])
	if err == nil {
		err = run(os.Args[1], os.Args[2], time.Duration(seconds)*time.Second)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pings:", err)
		os.Exit(1)
	}
}

func connected(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
		// A connection without calls stays as it is.
		grpc.WithIdleTimeout(0))
}

func run(address, key string, silence time.Duration) error {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+key), silence+time.Minute)
	defer cancel()
	idle, err := connected(address)
	if err != nil {
		return err
	}
	defer idle.Close()
	idle.Connect()
	for state := idle.GetState(); state != connectivity.Ready; state = idle.GetState() {
		if !idle.WaitForStateChange(ctx, state) {
			return fmt.Errorf("no connection: %v", state)
		}
	}
	busy, err := connected(address)
	if err != nil {
		return err
	}
	defer busy.Close()
	stream, err := pb.NewDinoServiceClient(busy).ExtractFeaturesStream(ctx)
	if err != nil {
		return err
	}
	if err := asked(stream, "before"); err != nil {
		return err
	}
	silent, done := context.WithTimeout(ctx, silence)
	defer done()
	if idle.WaitForStateChange(silent, connectivity.Ready) {
		return fmt.Errorf("the connection without a call became %v", idle.GetState())
	}
	if err := asked(stream, "after"); err != nil {
		return fmt.Errorf("after %v: %w", silence, err)
	}
	return stream.CloseSend()
}

// asked asks for what is refused for its own sake, which needs no model.
func asked(stream grpc.BidiStreamingClient[pb.DinoServiceExtractFeaturesStreamRequest, pb.DinoServiceExtractFeaturesStreamResponse], id string) error {
	if err := stream.Send(&pb.DinoServiceExtractFeaturesStreamRequest{RequestId: id, Request: &pb.DinoServiceExtractFeaturesRequest{}}); err != nil {
		return err
	}
	answer, err := stream.Recv()
	if err == nil && answer.GetError().GetCode() != "INVALID_ARGUMENT" {
		err = fmt.Errorf("answered %v", answer)
	}
	return err
}
