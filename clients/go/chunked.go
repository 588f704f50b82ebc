package featsvc

import (
	"context"
	"errors"
	"io"

	pb "featsvc/gen/featsvc/v1"

	"google.golang.org/grpc"
)

// ClipFeatures is Clip.ExtractFeatures with the answer in pieces, which suits answers of any size.
func (c *Client) ClipFeatures(
	ctx context.Context, request *pb.ClipServiceExtractFeaturesRequest,
) (*pb.ClipServiceExtractFeaturesResponse, error) {
	return joined(ctx, c.retry, func(ctx context.Context) (pieces[*pb.ClipServiceExtractFeaturesChunkedResponse], error) {
		return c.Clip.ExtractFeaturesChunked(ctx, &pb.ClipServiceExtractFeaturesChunkedRequest{Request: request})
	}, (*pb.ClipServiceExtractFeaturesChunkedResponse).GetReply)
}

// DinoFeatures is Dino.ExtractFeatures with the answer in pieces, which suits answers of any size.
func (c *Client) DinoFeatures(
	ctx context.Context, request *pb.DinoServiceExtractFeaturesRequest,
) (*pb.DinoServiceExtractFeaturesResponse, error) {
	return joined(ctx, c.retry, func(ctx context.Context) (pieces[*pb.DinoServiceExtractFeaturesChunkedResponse], error) {
		return c.Dino.ExtractFeaturesChunked(ctx, &pb.DinoServiceExtractFeaturesChunkedRequest{Request: request})
	}, (*pb.DinoServiceExtractFeaturesChunkedResponse).GetReply)
}

// EmbedPyramid is Clip.EmbedPyramid with the answer in pieces, which suits answers of any size.
func (c *Client) EmbedPyramid(ctx context.Context, request *pb.EmbedPyramidRequest) (*pb.EmbedPyramidResponse, error) {
	return joined(ctx, c.retry, func(ctx context.Context) (pieces[*pb.EmbedPyramidChunkedResponse], error) {
		return c.Clip.EmbedPyramidChunked(ctx, &pb.EmbedPyramidChunkedRequest{Request: request})
	}, (*pb.EmbedPyramidChunkedResponse).GetReply)
}

// GenerateMasks is Sam2.GenerateMasks with each mask in a message of its own, which suits any number of them.
func (c *Client) GenerateMasks(ctx context.Context, request *pb.GenerateMasksRequest) (*pb.GenerateMasksResponse, error) {
	var reply *pb.GenerateMasksResponse
	err := c.retry.do(ctx, func() error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := c.Sam2.GenerateMasksStream(ctx, &pb.GenerateMasksStreamRequest{Request: request})
		if err == nil {
			reply, err = listed(stream)
		}
		return err
	})
	return reply, err
}

// pieces is what the streams of both services are.
type pieces[M any] interface{ Recv() (M, error) }

// piece is what their messages have in common.
type piece interface{ GetChunk() *pb.TensorChunk }

// joined asks until it has the whole answer, and puts the data into the tensor that it belongs to.
func joined[M piece, R interface {
	comparable
	FeatureReply
}](
	ctx context.Context, retry RetryPolicy, open func(context.Context) (pieces[M], error), reply func(M) R,
) (R, error) {
	var whole, none R
	err := retry.do(ctx, func() error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := open(ctx)
		if err != nil {
			return err
		}
		begin, err := stream.Recv()
		if err != nil {
			return cutOff(err)
		}
		if whole = reply(begin); whole == none {
			return damaged("it began with a piece")
		}
		return filled(whole.GetFeatures(), stream)
	})
	if err != nil {
		return none, err
	}
	return whole, nil
}

// filled receives the data of a tensor that has none yet into one slice.
func filled[M piece](tensor *pb.Tensor, stream pieces[M]) error {
	_, size, err := layout(tensor)
	if err != nil {
		return err
	}
	begun := len(tensor.GetData())
	if begun == 0 {
		tensor.Data = make([]byte, size)
	}
	for at := begun; ; {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if at != size {
				return damaged("it ended after %d of %d bytes", at, size)
			}
			return nil
		}
		if err != nil {
			return err
		}
		chunk := message.GetChunk()
		if chunk == nil || chunk.GetOffset() != uint64(at) || len(chunk.GetData()) > size-at {
			return damaged("%d bytes came for %d where %d to %d were due", len(chunk.GetData()), chunk.GetOffset(), at, size)
		}
		at += copy(tensor.Data[at:], chunk.GetData())
	}
}

// listed are all masks of a stream and what its summary says.
func listed(stream grpc.ServerStreamingClient[pb.GenerateMasksStreamResponse]) (*pb.GenerateMasksResponse, error) {
	reply := &pb.GenerateMasksResponse{}
	for {
		message, err := stream.Recv()
		if err != nil {
			return nil, cutOff(err)
		}
		if mask := message.GetMask(); mask != nil {
			reply.Masks = append(reply.Masks, mask)
			continue
		}
		summary := message.GetSummary()
		if int(summary.GetCount()) != len(reply.Masks) {
			return nil, damaged("%d masks came of %d", len(reply.Masks), summary.GetCount())
		}
		reply.Height, reply.Width, reply.Model = summary.GetHeight(), summary.GetWidth(), summary.GetModel()
		reply.ImageDigest, reply.ImageOrientation = summary.GetImageDigest(), summary.GetImageOrientation()
		reply.LabelMap = summary.GetLabelMap()
		// What comes after the summary is how the call ended.
		if _, err := stream.Recv(); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return reply, nil
	}
}

// cutOff is the error of a stream that ended too soon.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return damaged("it ended before it was whole")
	}
	return err
}
