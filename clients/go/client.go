package featsvc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math"
	"os"
	"strconv"

	pb "featsvc/gen/featsvc/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// DefaultKey is the key of a server on loopback that was given none of its own.
const DefaultKey = "smfeats"

// TLS names the PEM files of a connection with TLS.
type TLS struct {
	// CA is the file of the authority that signed the server's certificate; empty: those that the machine trusts.
	CA string
	// Cert and Key are the client's own files, for servers that ask for them.
	Cert, Key string
}

// Options says how to connect. The zero value is good for a server on this machine.
type Options struct {
	// APIKey is sent with every call; empty: DefaultKey.
	APIKey string
	// TLS makes the connection one with TLS.
	TLS *TLS
	// MaxMessageBytes limits messages in both directions; 0 leaves the limits to the server.
	MaxMessageBytes int
	// Retry says when a failed call is tried again; nil: DefaultRetry.
	Retry *RetryPolicy
	// Dial is added to the options of the connection.
	Dial []grpc.DialOption
}

// Client is a connection to a server. Goroutines may share it. The deadline of a call is that of its context.
type Client struct {
	// Clip, Dino, Sam2, Objects, Models and Estimates are the generated clients.
	Clip      pb.ClipServiceClient
	Dino      pb.DinoServiceClient
	Sam2      pb.Sam2ServiceClient
	Objects   pb.ObjectServiceClient
	Models    pb.ModelServiceClient
	Estimates pb.EstimateServiceClient

	connection *grpc.ClientConn
	retry      RetryPolicy
}

// Connect prepares a connection to host:port. The first call opens it.
func Connect(target string, options Options) (*Client, error) {
	transport := insecure.NewCredentials()
	if options.TLS != nil {
		config, err := options.TLS.config()
		if err != nil {
			return nil, err
		}
		transport = credentials.NewTLS(config)
	}
	retry := DefaultRetry
	if options.Retry != nil {
		retry = *options.Retry
	}
	limit := options.MaxMessageBytes
	if limit == 0 {
		limit = math.MaxInt32
	}
	key := options.APIKey
	if key == "" {
		key = DefaultKey
	}
	connection, err := grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithPerRPCCredentials(bearer(key)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(limit), grpc.MaxCallSendMsgSize(limit)),
		grpc.WithChainUnaryInterceptor(retry.unary),
		grpc.WithChainStreamInterceptor(typedErrors),
		grpc.WithConnectParams(reconnecting),
	}, options.Dial...)...)
	if err != nil {
		return nil, fmt.Errorf("featsvc: %s: %w", target, err)
	}
	return &Client{
		Clip:       pb.NewClipServiceClient(connection),
		Dino:       pb.NewDinoServiceClient(connection),
		Sam2:       pb.NewSam2ServiceClient(connection),
		Objects:    pb.NewObjectServiceClient(connection),
		Models:     pb.NewModelServiceClient(connection),
		Estimates:  pb.NewEstimateServiceClient(connection),
		connection: connection,
		retry:      retry,
	}, nil
}

// Close ends the connection and every call under way.
func (c *Client) Close() error { return c.connection.Close() }

func (t *TLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("featsvc: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("featsvc: %s holds no PEM certificate", t.CA)
		}
	}
	if t.Cert != "" {
		own, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("featsvc: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

// WithPriority makes calls in the context urgent beside others with the same key, from -9 to 9: higher ones come first. It counts
// for nothing beside other keys.
func WithPriority(ctx context.Context, priority int) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-featsvc-priority", strconv.Itoa(priority))
}

// bearer is an API key.
type bearer string

func (key bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(key)}, nil
}

// RequireTransportSecurity is false because servers on loopback have no TLS.
func (key bearer) RequireTransportSecurity() bool { return false }
