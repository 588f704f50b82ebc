package featsvc_test

import (
	"bytes"
	"testing"

	pb "featsvc/gen/featsvc/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type out = grpc.ServerStreamingServer[pb.DinoServiceExtractFeaturesChunkedResponse]

// sent sends the head of a tensor of so many bytes, then the pieces.
func sent(to out, size uint32, pieces ...*pb.TensorChunk) error {
	head := floats()
	head.Features.Shape[2] = size
	first := &pb.DinoServiceExtractFeaturesChunkedResponse_Reply{Reply: head}
	if err := to.Send(&pb.DinoServiceExtractFeaturesChunkedResponse{Part: first}); err != nil {
		return err
	}
	for _, each := range pieces {
		part := &pb.DinoServiceExtractFeaturesChunkedResponse_Chunk{Chunk: each}
		if err := to.Send(&pb.DinoServiceExtractFeaturesChunkedResponse{Part: part}); err != nil {
			return err
		}
	}
	return nil
}

func piece(offset uint64, data ...byte) *pb.TensorChunk {
	return &pb.TensorChunk{Offset: offset, Data: data}
}

func TestPiecesAreJoinedToOneTensor(t *testing.T) {
	client := connected(t, &scripted{chunked: func(to out) error { return sent(to, 5, piece(0, 1, 2, 3), piece(3, 4, 5)) }})
	reply, err := client.DinoFeatures(t.Context(), &request{})
	if err != nil || !bytes.Equal(reply.GetFeatures().GetData(), []byte{1, 2, 3, 4, 5}) {
		t.Errorf("%v %v", reply, err)
	}
}

func TestASmallAnswerComesInOneMessage(t *testing.T) {
	client := connected(t, &scripted{chunked: func(to out) error {
		part := &pb.DinoServiceExtractFeaturesChunkedResponse_Reply{Reply: floats(8, 9)}
		return to.Send(&pb.DinoServiceExtractFeaturesChunkedResponse{Part: part})
	}})
	reply, err := client.DinoFeatures(t.Context(), &request{})
	if err != nil || !bytes.Equal(reply.GetFeatures().GetData(), []byte{8, 9}) {
		t.Errorf("%v %v", reply, err)
	}
}

func TestAnAnswerWithMissingPiecesIsAnError(t *testing.T) {
	for name, pieces := range map[string][]*pb.TensorChunk{
		"none": nil, "too few": {piece(0, 1, 2)}, "a gap": {piece(0, 1), piece(3, 4, 5)}, "too many": {piece(0, 1, 2, 3, 4, 5, 6)},
	} {
		client := connected(t, &scripted{chunked: func(to out) error { return sent(to, 5, pieces...) }})
		if reply, err := client.DinoFeatures(t.Context(), &request{}); err == nil || reply != nil {
			t.Errorf("%s: %v", name, reply)
		}
	}
}

func TestAnAnswerThatBreaksOffIsAskedForAgain(t *testing.T) {
	attempts := 0
	client := connected(t, &scripted{chunked: func(to out) error {
		if attempts++; attempts == 1 {
			_ = sent(to, 2, piece(0, 9))
			return status.Error(codes.Unavailable, "broken off")
		}
		return sent(to, 2, piece(0, 1), piece(1, 2))
	}})
	reply, err := client.DinoFeatures(t.Context(), &request{})
	if err != nil || attempts != 2 || !bytes.Equal(reply.GetFeatures().GetData(), []byte{1, 2}) {
		t.Errorf("%d attempts: %v %v", attempts, reply, err)
	}
}
