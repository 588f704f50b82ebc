package main

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"featsvc"
	pb "featsvc/gen/featsvc/v1"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// method asks the questions of a case and gives the lines about them, of which names are the names.
type method func(ctx context.Context, names []string, about testCase) ([]map[string]any, error)

// message is a pointer to a generated struct.
type message[M any] interface {
	*M
	proto.Message
}

// methods are those of the contract, each by the client's own way to ask it.
func methods(c *featsvc.Client) map[string]method {
	return map[string]method{
		"ClipService/ExtractFeatures":         unary(c.Clip.ExtractFeatures, features),
		"ClipService/ExtractFeaturesChunked":  unary(plain(c.ClipFeatures), features),
		"ClipService/ExtractFeaturesStream":   stream(c.StreamClipFeatures, features),
		"ClipService/EncodeText":              unary(c.Clip.EncodeText, textEmbeddings),
		"ClipService/ComputeSimilarity":       unary(c.Clip.ComputeSimilarity, similarity),
		"ClipService/EncodeImage":             unary(c.Clip.EncodeImage, imageEmbeddings),
		"ClipService/EmbedPyramid":            unary(c.Clip.EmbedPyramid, features),
		"ClipService/EmbedPyramidChunked":     unary(plain(c.EmbedPyramid), features),
		"ClipService/EmbedPyramidStream":      stream(c.StreamEmbedPyramid, features),
		"DinoService/ExtractFeatures":         unary(c.Dino.ExtractFeatures, features),
		"DinoService/ExtractFeaturesChunked":  unary(plain(c.DinoFeatures), features),
		"DinoService/ExtractFeaturesStream":   stream(c.StreamDinoFeatures, features),
		"Sam2Service/GenerateMasks":           unary(c.Sam2.GenerateMasks, masks),
		"Sam2Service/GenerateMasksStream":     unary(plain(c.GenerateMasks), masks),
		"Sam2Service/PredictMasks":            unary(c.Sam2.PredictMasks, prompts),
		"Sam2Service/PredictMasksStream":      stream(c.StreamPredictMasks, prompts),
		"Sam2Service/EmbedImage":              unary(c.Sam2.EmbedImage, embedding),
		"ObjectService/DescribeObjects":       unary(c.Objects.DescribeObjects, objects),
		"ObjectService/DescribeObjectsStream": stream(c.StreamDescribeObjects, objects),
		"ObjectService/FindObjects":           unary(c.Objects.FindObjects, found),
		"ObjectService/FindObjectsStream":     stream(c.StreamFindObjects, found),
		"ModelService/GetCaller":              unary(c.Models.GetCaller, nothing),
		"ModelService/ListModels":             unary(c.Models.ListModels, nothing),
		"ModelService/LoadModel":              unary(c.Models.LoadModel, nothing),
		"ModelService/UnloadModel":            unary(c.Models.UnloadModel, nothing),
		"ModelService/GetStatus":              unary(c.Models.GetStatus, nothing),
	}
}

// patient waits for a server that is restarted meanwhile.
var patient = featsvc.RetryPolicy{
	Attempts: 60, FirstDelay: 100 * time.Millisecond, MaxDelay: time.Second, Factor: 2, Jitter: 0.5,
}

// asked gives the lines about a case.
func asked(address, key string, each testCase) ([]map[string]any, error) {
	if each.APIKey != "" {
		key = each.APIKey
	}
	client, err := featsvc.Connect(address, featsvc.Options{APIKey: key, Retry: &patient})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ask, known := methods(client)[strings.TrimPrefix(each.RPC, "featsvc.v1.")]
	if !known {
		return nil, fmt.Errorf("no method %s", each.RPC)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(each.TimeoutS*float64(time.Second)))
	defer cancel()
	names := make([]string, len(each.Questions))
	for i, question := range each.Questions {
		names[i] = each.Name
		if question.ID != "" {
			names[i] += "/" + question.ID
		}
	}
	return ask(ctx, names, each)
}

// plain gives a method of the client the form of the generated ones.
func plain[Q, R any](call func(context.Context, Q) (R, error)) func(context.Context, Q, ...grpc.CallOption) (R, error) {
	return func(ctx context.Context, request Q, _ ...grpc.CallOption) (R, error) { return call(ctx, request) }
}

func unary[Q any, P message[Q], R proto.Message](
	call func(context.Context, P, ...grpc.CallOption) (R, error), read func(R) (arrays, error),
) method {
	return func(ctx context.Context, names []string, about testCase) ([]map[string]any, error) {
		request := P(new(Q))
		if err := protojson.Unmarshal(about.Questions[0].Request, request); err != nil {
			return nil, err
		}
		reply, err := call(ctx, request)
		line, err := lineAbout(names[0], reply, err, read)
		return []map[string]any{line}, err
	}
}

func stream[Q any, P message[Q], R proto.Message](
	call func(context.Context, iter.Seq2[string, P], int) iter.Seq2[featsvc.Answer[R], error], read func(R) (arrays, error),
) method {
	return func(ctx context.Context, names []string, about testCase) ([]map[string]any, error) {
		requests := make([]P, len(about.Questions))
		for i, each := range about.Questions {
			requests[i] = P(new(Q))
			if err := protojson.Unmarshal(each.Request, requests[i]); err != nil {
				return nil, err
			}
		}
		seen := make(chan struct{}, len(names))
		ask := func(yield func(string, P) bool) {
			for i, request := range requests {
				if !yield(names[i], request) {
					return
				}
				if about.Paced {
					select {
					case <-seen:
					case <-ctx.Done():
						return
					}
				}
			}
		}
		found := map[string]map[string]any{}
		var broken error
		for answer, err := range call(ctx, ask, 2) {
			if broken = err; broken != nil {
				break
			}
			var failure error
			if answer.Err != nil {
				failure = answer.Err
			}
			line, err := lineAbout(answer.ID, answer.Reply, failure, read)
			if err != nil {
				return nil, err
			}
			found[answer.ID] = line
			seen <- struct{}{}
		}
		lines := make([]map[string]any, len(names))
		for i, name := range names {
			if lines[i] = found[name]; lines[i] == nil {
				line, err := lineAbout(name, requests[i], broken, nil)
				if err != nil {
					return nil, err
				}
				lines[i] = line
			}
		}
		return lines, nil
	}
}

// lineAbout is the line about one outcome; an error where it is none of a call.
func lineAbout[R proto.Message](name string, reply R, err error, read func(R) (arrays, error)) (map[string]any, error) {
	if err == nil {
		var found arrays
		if found, err = read(reply); err == nil {
			return answered(name, model(reply), found), nil
		}
	}
	if line, ok := refused(name, err); ok {
		return line, nil
	}
	return nil, err
}

// model is the key of the model that answered, or that the answer is about.
func model(reply proto.Message) string {
	switch about := reply.(type) {
	case interface{ GetModel() string }:
		return about.GetModel()
	case interface{ GetModel() *pb.Model }:
		return about.GetModel().GetKey()
	}
	return ""
}

func codeName(c codes.Code) string { return code.Code(c).String() }
