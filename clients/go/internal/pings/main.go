// Command pings holds a stream open and says nothing on it, while its connection pings every ten seconds, which is as
// often as grpc-go lets it: `pings ADDRESS API_KEY SECONDS` ends with 0 where the server ends the stream when it is
// closed, and not before.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	featsvc "featsvc"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

func main() {
	if err := held(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func held(address, key, seconds string) error {
	pause, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return err
	}
	pings := keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}
	client, err := featsvc.Connect(address, featsvc.Options{
		APIKey: key,
		Dial:   []grpc.DialOption{grpc.WithKeepaliveParams(pings)},
	})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+key)
	stream, err := client.Clip.ExtractFeaturesStream(ctx)
	if err != nil {
		return err
	}
	time.Sleep(pause)
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the stream ended with %v", err)
	}
	return nil
}
