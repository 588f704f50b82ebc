package featsvc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"testing"
	"time"

	"featsvc"
	pb "featsvc/gen/featsvc/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type (
	streamRequest  = pb.DinoServiceExtractFeaturesStreamRequest
	streamResponse = pb.DinoServiceExtractFeaturesStreamResponse
	both           = grpc.BidiStreamingServer[streamRequest, streamResponse]
)

// numbered are questions with the names q0, q1 and so on.
func numbered(count int) iter.Seq2[string, *request] {
	return func(yield func(string, *request) bool) {
		for i := range count {
			if !yield(fmt.Sprintf("q%d", i), &request{Image: featsvc.Picture([]byte{byte(i)})}) {
				return
			}
		}
	}
}

func answer(to both, asked *streamRequest) error {
	outcome := &pb.DinoServiceExtractFeaturesStreamResponse_Response{Response: floats(asked.GetRequest().GetImage().GetContent()...)}
	return to.Send(&streamResponse{RequestId: asked.GetRequestId(), Outcome: outcome, Timing: &pb.Timing{BatchSize: 2}})
}

func refuse(to both, asked *streamRequest, refusal *pb.ItemError) error {
	return to.Send(&streamResponse{RequestId: asked.GetRequestId(), Outcome: &pb.DinoServiceExtractFeaturesStreamResponse_Error{Error: refusal}})
}

// each calls for every question until the client has ended.
func each(act func(both, *streamRequest) error) func(both) error {
	return func(to both) error {
		for {
			asked, err := to.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				err = act(to, asked)
			}
			if err != nil {
				return err
			}
		}
	}
}

// collected are the answers by name: the first byte of each, or the code of its error.
func collected(t *testing.T, client *featsvc.Client, count, window int) (map[string]string, error) {
	t.Helper()
	found := map[string]string{}
	for answer, err := range client.StreamDinoFeatures(t.Context(), numbered(count), window) {
		if err != nil {
			return found, err
		}
		if _, twice := found[answer.ID]; twice {
			t.Errorf("%s came twice", answer.ID)
		}
		if (answer.Err == nil) != (answer.Timing.GetBatchSize() == 2) {
			t.Errorf("%s has the timing %v", answer.ID, answer.Timing)
		}
		if answer.Err != nil {
			found[answer.ID] = answer.Err.Code.String()
		} else {
			found[answer.ID] = fmt.Sprint(answer.Reply.GetFeatures().GetData()[0])
		}
	}
	return found, nil
}

func wholeAndRight(t *testing.T, found map[string]string, count int) {
	t.Helper()
	if len(found) != count {
		t.Fatalf("%d answers: %v", len(found), found)
	}
	for i := range count {
		if found[fmt.Sprintf("q%d", i)] != fmt.Sprint(i) {
			t.Errorf("q%d: %v", i, found)
		}
	}
}

func TestEveryQuestionGetsItsOwnAnswerInAnyOrder(t *testing.T) {
	var held *streamRequest
	client := connected(t, &scripted{stream: each(func(to both, asked *streamRequest) error {
		if held == nil {
			held = asked
			return nil
		}
		// The later one first.
		err := errors.Join(answer(to, asked), answer(to, held))
		held = nil
		return err
	})})
	found, err := collected(t, client, 10, 4)
	if err != nil {
		t.Fatal(err)
	}
	wholeAndRight(t, found, 10)
}

func TestNoMoreQuestionsAreUnderWayThanTheWindowHolds(t *testing.T) {
	const window = 3
	var waiting []*streamRequest
	client := connected(t, &scripted{stream: each(func(to both, asked *streamRequest) error {
		if waiting = append(waiting, asked); len(waiting) > window {
			return status.Error(codes.Internal, "more than the window")
		}
		if len(waiting) == window {
			first := waiting[0]
			waiting = waiting[1:]
			return answer(to, first)
		}
		return nil
	})})
	seen := 0
	for _, err := range client.StreamDinoFeatures(t.Context(), numbered(20), window) {
		if err != nil {
			t.Fatal(err)
		}
		// The server keeps the last two for ever.
		if seen++; seen == 20-window+1 {
			break
		}
	}
	if seen != 20-window+1 {
		t.Errorf("%d answers", seen)
	}
}

func TestLargeQuestionsAndAnswersDoNotWaitForEachOther(t *testing.T) {
	// More than flow control lets either side send ahead.
	large := make([]byte, 1<<20)
	client := connected(t, &scripted{stream: func(to both) error {
		for {
			// Reads no further question before two answers are out.
			var pair [2]*streamRequest
			for i := range pair {
				asked, err := to.Recv()
				if err != nil {
					return nil
				}
				pair[i] = asked
			}
			for _, asked := range pair {
				if err := answer(to, asked); err != nil {
					return err
				}
			}
		}
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	questions := func(yield func(string, *request) bool) {
		for yield("", &request{Image: featsvc.Picture(large)}) {
		}
	}
	seen := 0
	for answer, err := range client.StreamDinoFeatures(ctx, questions, 8) {
		if err != nil || answer.Err != nil {
			t.Fatal(err, answer.Err)
		}
		if seen++; seen == 20 {
			break
		}
	}
}

func TestAnAnswerDoesNotWaitForTheNextQuestion(t *testing.T) {
	client := connected(t, &scripted{stream: each(answer)})
	seen := make(chan string, 1)
	questions := func(yield func(string, *request) bool) {
		for id, question := range numbered(3) {
			if !yield(id, question) {
				return
			}
			select {
			case <-seen:
			case <-time.After(time.Minute):
				t.Errorf("the answer to %s waits for the next question", id)
				return
			}
		}
	}
	found := 0
	for answer, err := range client.StreamDinoFeatures(t.Context(), questions, 4) {
		if err != nil || answer.Err != nil {
			t.Fatal(err, answer.Err)
		}
		found++
		seen <- answer.ID
	}
	if found != 3 {
		t.Errorf("%d answers", found)
	}
}

func TestLeavingTheLoopDoesNotWaitForTheNextQuestion(t *testing.T) {
	client := connected(t, &scripted{stream: each(answer)})
	more := make(chan struct{})
	questions := func(yield func(string, *request) bool) {
		for id, question := range numbered(2) {
			if !yield(id, question) {
				return
			}
			<-more
		}
	}
	for range client.StreamDinoFeatures(t.Context(), questions, 4) {
		break
	}
	close(more)
}

func TestAPanicOfTheSourceComesOutOfTheLoop(t *testing.T) {
	client := connected(t, &scripted{stream: each(answer)})
	questions := func(func(string, *request) bool) { panic("damaged") }
	defer func() {
		if recover() != "damaged" {
			t.Error("no panic")
		}
	}()
	for range client.StreamDinoFeatures(t.Context(), questions, 4) {
	}
}

func TestAStreamThatEndsWhileNothingIsAskedIsNoError(t *testing.T) {
	streams := make(chan struct{}, 8)
	client := connected(t, &scripted{stream: func(to both) error {
		asked, err := to.Recv()
		if err == nil {
			err = answer(to, asked)
		}
		streams <- struct{}{}
		if err == nil {
			err = status.Error(codes.Unavailable, "idle")
		}
		return err
	}})
	questions := func(yield func(string, *request) bool) {
		for id, question := range numbered(3) {
			if !yield(id, question) {
				return
			}
			<-streams
		}
	}
	found := 0
	for answer, err := range client.StreamDinoFeatures(t.Context(), questions, 4) {
		if err != nil || answer.Err != nil {
			t.Fatal(err, answer.Err)
		}
		found++
	}
	if found != 3 {
		t.Errorf("%d answers", found)
	}
}

func TestABadQuestionFailsAlone(t *testing.T) {
	client := connected(t, &scripted{stream: each(func(to both, asked *streamRequest) error {
		if asked.GetRequest().GetImage().GetContent()[0] == 1 {
			return refuse(to, asked, &pb.ItemError{Code: "INVALID_ARGUMENT", Message: "no"})
		}
		return answer(to, asked)
	})})
	found, err := collected(t, client, 3, 2)
	if err != nil || found["q0"] != "0" || found["q1"] != "InvalidArgument" || found["q2"] != "2" {
		t.Errorf("%v %v", found, err)
	}
}

func TestAQuestionThatTheServerHasNoPlaceForIsAskedAgain(t *testing.T) {
	refused := map[string]int{}
	client := connected(t, &scripted{stream: each(func(to both, asked *streamRequest) error {
		if id := asked.GetRequestId(); refused[id] < 7 {
			refused[id]++
			return refuse(to, asked, &pb.ItemError{Code: "RESOURCE_EXHAUSTED", RetryAfterMs: 2})
		}
		return answer(to, asked)
	})})
	found, err := collected(t, client, 5, 2)
	if err != nil {
		t.Fatal(err)
	}
	wholeAndRight(t, found, 5)
}

func TestAnAnswerOverTheLimitIsNotAskedForAgain(t *testing.T) {
	attempts := 0
	client := connected(t, &scripted{stream: each(func(to both, asked *streamRequest) error {
		attempts++
		return refuse(to, asked, &pb.ItemError{Code: "RESOURCE_EXHAUSTED"})
	})})
	found, err := collected(t, client, 1, 1)
	if err != nil || attempts != 1 || found["q0"] != "ResourceExhausted" {
		t.Errorf("%d attempts: %v %v", attempts, found, err)
	}
}

func TestAQuestionThatFailsForAReasonIsNotAskedAgain(t *testing.T) {
	attempts := 0
	client := connected(t, &scripted{stream: each(func(to both, asked *streamRequest) error {
		attempts++
		return refuse(to, asked, &pb.ItemError{Code: "UNAVAILABLE", Reason: "killed-workers"})
	})})
	found, err := collected(t, client, 1, 1)
	if err != nil || attempts != 1 || found["q0"] != "Unavailable" {
		t.Errorf("%d attempts: %v %v", attempts, found, err)
	}
}

func TestAStreamThatBreaksGoesOnWithWhatWaits(t *testing.T) {
	streams := 0
	client := connected(t, &scripted{stream: func(to both) error {
		streams++
		count := 0
		return each(func(to both, asked *streamRequest) error {
			if count++; count > 3 {
				return status.Error(codes.Unavailable, "restarting")
			}
			return answer(to, asked)
		})(to)
	}})
	found, err := collected(t, client, 20, 4)
	if err != nil || streams < 2 {
		t.Fatalf("%d streams: %v", streams, err)
	}
	wholeAndRight(t, found, 20)
}

func TestAServerThatHasAnsweredIsWaitedForUntilTheDeadline(t *testing.T) {
	streams := 0
	client := connected(t, &scripted{stream: func(to both) error {
		if streams++; streams > 1 && streams < 3*quick.Attempts {
			return status.Error(codes.Unavailable, "restarting")
		}
		asked, err := to.Recv()
		if err == nil {
			err = answer(to, asked)
		}
		return err
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := 0
	for answer, err := range client.StreamDinoFeatures(ctx, numbered(2), 1) {
		if err != nil || answer.Err != nil {
			t.Fatal(err, answer.Err)
		}
		seen++
	}
	if seen != 2 || streams != 3*quick.Attempts {
		t.Errorf("%d answers over %d streams", seen, streams)
	}
}

func TestAStreamThatNeverAnswersEndsWithItsError(t *testing.T) {
	streams := 0
	client := connected(t, &scripted{stream: func(both) error {
		streams++
		return status.Error(codes.Unavailable, "down")
	}})
	found, err := collected(t, client, 3, 2)
	if status.Code(err) != codes.Unavailable || len(found) != 0 || streams != quick.Attempts {
		t.Errorf("%d streams: %v %v", streams, found, err)
	}
}

func TestTheDeadlineOfTheContextEndsTheStream(t *testing.T) {
	client := connected(t, &scripted{stream: each(func(both, *streamRequest) error { return nil })})
	// Often, because two things happen at the deadline, in any order.
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		var last error
		for _, last = range client.StreamDinoFeatures(ctx, numbered(3), 2) {
		}
		cancel()
		if status.Code(last) != codes.DeadlineExceeded {
			t.Fatal(last)
		}
	}
}

func TestLeavingTheLoopEndsTheStream(t *testing.T) {
	left := make(chan struct{})
	client := connected(t, &scripted{stream: func(to both) error {
		defer close(left)
		return each(answer)(to)
	}})
	for range client.StreamDinoFeatures(t.Context(), numbered(1000), 4) {
		break
	}
	<-left
}
