package featsvc

import (
	"context"
	"errors"
	"io"
	"iter"
	"math"
	"strconv"
	"time"

	pb "featsvc/gen/featsvc/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Answer is the answer to one question of a stream.
type Answer[R any] struct {
	// ID is the caller's name of the question.
	ID string
	// Reply is the answer, where Err is nil.
	Reply R
	// Timing is what the answer has taken; nil where the server does not say.
	Timing *pb.Timing
	// Err is why there is none; other questions are not concerned.
	Err *Error
}

// StreamClipFeatures asks Clip.ExtractFeatures about many pictures, each under the caller's own name, with at most window
// of them under way. Questions are read in a goroutine of their own, when there is room: no answer waits for the next one.
// Answers come as they are done; what is wrong with one picture is its answer. An error ends the stream: it is of the
// connection, and some questions stay without answer. Leaving the loop ends all that is under way.
func (c *Client) StreamClipFeatures(
	ctx context.Context, questions iter.Seq2[string, *pb.ClipServiceExtractFeaturesRequest], window int,
) iter.Seq2[Answer[*pb.ClipServiceExtractFeaturesResponse], error] {
	type message = pb.ClipServiceExtractFeaturesStreamRequest
	return streamed(ctx, c.retry, questions, window, c.Clip.ExtractFeaturesStream,
		func(id string, question *pb.ClipServiceExtractFeaturesRequest) *message {
			return &message{RequestId: id, Request: question}
		}, func(answer *pb.ClipServiceExtractFeaturesStreamResponse) reply[*pb.ClipServiceExtractFeaturesResponse] {
			return answer
		})
}

// StreamDinoFeatures is the same for Dino.ExtractFeatures.
func (c *Client) StreamDinoFeatures(
	ctx context.Context, questions iter.Seq2[string, *pb.DinoServiceExtractFeaturesRequest], window int,
) iter.Seq2[Answer[*pb.DinoServiceExtractFeaturesResponse], error] {
	type message = pb.DinoServiceExtractFeaturesStreamRequest
	return streamed(ctx, c.retry, questions, window, c.Dino.ExtractFeaturesStream,
		func(id string, question *pb.DinoServiceExtractFeaturesRequest) *message {
			return &message{RequestId: id, Request: question}
		}, func(answer *pb.DinoServiceExtractFeaturesStreamResponse) reply[*pb.DinoServiceExtractFeaturesResponse] {
			return answer
		})
}

// StreamEmbedPyramid is the same for Clip.EmbedPyramid.
func (c *Client) StreamEmbedPyramid(
	ctx context.Context, questions iter.Seq2[string, *pb.EmbedPyramidRequest], window int,
) iter.Seq2[Answer[*pb.EmbedPyramidResponse], error] {
	type message = pb.EmbedPyramidStreamRequest
	return streamed(ctx, c.retry, questions, window, c.Clip.EmbedPyramidStream,
		func(id string, question *pb.EmbedPyramidRequest) *message {
			return &message{RequestId: id, Request: question}
		}, func(answer *pb.EmbedPyramidStreamResponse) reply[*pb.EmbedPyramidResponse] { return answer })
}

// StreamPredictMasks is the same for Sam2.PredictMasks.
func (c *Client) StreamPredictMasks(
	ctx context.Context, questions iter.Seq2[string, *pb.PredictMasksRequest], window int,
) iter.Seq2[Answer[*pb.PredictMasksResponse], error] {
	type message = pb.PredictMasksStreamRequest
	return streamed(ctx, c.retry, questions, window, c.Sam2.PredictMasksStream,
		func(id string, question *pb.PredictMasksRequest) *message {
			return &message{RequestId: id, Request: question}
		}, func(answer *pb.PredictMasksStreamResponse) reply[*pb.PredictMasksResponse] { return answer })
}

// StreamDescribeObjects is the same for Objects.DescribeObjects.
func (c *Client) StreamDescribeObjects(
	ctx context.Context, questions iter.Seq2[string, *pb.DescribeObjectsRequest], window int,
) iter.Seq2[Answer[*pb.DescribeObjectsResponse], error] {
	type message = pb.DescribeObjectsStreamRequest
	return streamed(ctx, c.retry, questions, window, c.Objects.DescribeObjectsStream,
		func(id string, question *pb.DescribeObjectsRequest) *message {
			return &message{RequestId: id, Request: question}
		}, func(answer *pb.DescribeObjectsStreamResponse) reply[*pb.DescribeObjectsResponse] { return answer })
}

// StreamFindObjects is the same for Objects.FindObjects.
func (c *Client) StreamFindObjects(
	ctx context.Context, questions iter.Seq2[string, *pb.FindObjectsRequest], window int,
) iter.Seq2[Answer[*pb.FindObjectsResponse], error] {
	type message = pb.FindObjectsStreamRequest
	return streamed(ctx, c.retry, questions, window, c.Objects.FindObjectsStream,
		func(id string, question *pb.FindObjectsRequest) *message {
			return &message{RequestId: id, Request: question}
		}, func(answer *pb.FindObjectsStreamResponse) reply[*pb.FindObjectsResponse] { return answer })
}

// reply is what the messages of all streams have in common.
type reply[R any] interface {
	GetRequestId() string
	GetResponse() R
	GetError() *pb.ItemError
	GetTiming() *pb.Timing
}

// question is one without an answer so far.
type question[Q any] struct {
	id      string
	request Q
	// failed counts the refusals that did not say when to come back.
	failed int
	// due is when to send it (again); zero while the server has it.
	due time.Time
}

// window is the state of a stream: the questions that wait for an answer, by the names that the server knows them by.
type window[Q, R, M, A any] struct {
	ctx   context.Context
	retry RetryPolicy
	open  func(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[M, A], error)
	wrap  func(string, Q) *M
	read  func(*A) reply[R]
	// source gives the questions, and asked counts those that it has given.
	source *source[Q]
	asked  int
	// size is how many questions wait at most.
	size    int
	waiting map[string]*question[Q]
	// order holds the names of waiting in the order in which they were asked.
	order []string
	// breaks counts streams that broke off without an answer in between.
	breaks int
	// answered is set when the server has answered anything.
	answered bool
}

// event is a message, or the end of the stream.
type event[A any] struct {
	message *A
	err     error
}

func streamed[Q, R, M, A any](
	ctx context.Context, retry RetryPolicy, questions iter.Seq2[string, Q], size int,
	open func(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[M, A], error),
	wrap func(string, Q) *M, readReply func(*A) reply[R],
) iter.Seq2[Answer[R], error] {
	return func(yield func(Answer[R], error) bool) {
		source := read(questions)
		defer source.leave()
		state := window[Q, R, M, A]{
			ctx: ctx, retry: retry, open: open, wrap: wrap, read: readReply, source: source, size: max(size, 1), waiting: map[string]*question[Q]{},
		}
		for {
			// A stream is opened when there is something to ask.
			if err := state.first(); err != nil {
				yield(Answer[R]{}, err)
				return
			}
			if len(state.waiting) == 0 {
				return
			}
			goOn, err := state.line(yield)
			if !goOn {
				return
			}
			// While nothing waits, a stream may end as it likes: the next question opens another.
			if err != nil && len(state.waiting) > 0 {
				if err := state.broken(err); err != nil {
					yield(Answer[R]{}, err)
					return
				}
			}
		}
	}
}

// first waits for a question where none waits for an answer; none comes where the source is over.
func (w *window[Q, R, M, A]) first() error {
	for len(w.waiting) == 0 && w.source.draw() {
		select {
		case got := <-w.source.drawn:
			w.add(got)
		case <-w.ctx.Done():
			return asError(status.FromContextError(w.ctx.Err()).Err(), nil)
		}
	}
	return nil
}

// add takes what the source has given.
func (w *window[Q, R, M, A]) add(got drawn[Q]) {
	if !w.source.took(got) {
		return
	}
	name := strconv.Itoa(w.asked)
	w.asked++
	w.waiting[name] = &question[Q]{id: got.id, request: got.request, due: time.Now()}
	w.order = append(w.order, name)
}

// line asks over one stream until all is answered or the stream breaks; false where the caller has left.
func (w *window[Q, R, M, A]) line(yield func(Answer[R], error) bool) (goOn bool, broken error) {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	stream, err := w.open(ctx)
	if err != nil {
		return true, err
	}
	// Room for all answers and the end: where both sides wait to send, neither receives.
	events := make(chan event[A], w.size+1)
	go func() {
		for {
			message, err := stream.Recv()
			select {
			case events <- event[A]{message, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		more := len(w.waiting) >= w.size || w.source.draw()
		if !more && len(w.waiting) == 0 {
			break
		}
		next := w.send(stream)
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
			timer.Stop()
			return true, status.FromContextError(ctx.Err()).Err()
		case got := <-w.source.drawn:
			timer.Stop()
			w.add(got)
		case got := <-events:
			timer.Stop()
			if got.err != nil {
				return true, got.err
			}
			if answer, done := w.take(w.read(got.message)); done && !yield(answer, nil) {
				return false, nil
			}
		}
	}
	// The server ends its side at once when it has answered all.
	if stream.CloseSend() == nil {
		select {
		case <-events:
		case <-time.After(time.Second):
		}
	}
	return true, nil
}

// send sends what is due, and gives the time until something else is.
func (w *window[Q, R, M, A]) send(stream grpc.BidiStreamingClient[M, A]) time.Duration {
	next := time.Hour
	for _, name := range w.order {
		each := w.waiting[name]
		if each.due.IsZero() {
			continue
		}
		if left := time.Until(each.due); left > 0 {
			next = min(next, left)
			continue
		}
		// Its error is only that the stream has ended; Recv says why.
		if stream.Send(w.wrap(name, each.request)) != nil {
			return time.Hour
		}
		each.due = time.Time{}
	}
	return next
}

// take is what an answer means to the caller; false where it means nothing yet.
func (w *window[Q, R, M, A]) take(message reply[R]) (Answer[R], bool) {
	asked, known := w.waiting[message.GetRequestId()]
	if !known {
		return Answer[R]{}, false
	}
	w.breaks, w.answered = 0, true
	answer := Answer[R]{ID: asked.id}
	if refusal := message.GetError(); refusal != nil {
		answer.Err = itemError(refusal)
		if answer.Err.RetryAfter == 0 {
			asked.failed++
		}
		// Refusals that say when to come back are limited by the context's deadline alone.
		if delay, again := w.retry.pause(w.ctx, asked.failed, answer.Err); again && w.retry.Attempts > 1 {
			asked.due = time.Now().Add(delay)
			return Answer[R]{}, false
		}
	} else {
		answer.Reply, answer.Timing = message.GetResponse(), message.GetTiming()
	}
	w.forget(message.GetRequestId())
	return answer, true
}

func (w *window[Q, R, M, A]) forget(name string) {
	delete(w.waiting, name)
	for i, each := range w.order {
		if each == name {
			w.order = append(w.order[:i], w.order[i+1:]...)
			return
		}
	}
}

// broken waits before a new stream, over which all that wait go again; an error where that is of no use. A server that has
// answered before may be restarting: where the context has a deadline, that alone limits the wait for it.
func (w *window[Q, R, M, A]) broken(err error) error {
	if errors.Is(err, io.EOF) {
		err = &Error{Code: codes.Unavailable, Message: "the server ended the stream before it had answered all"}
	}
	said := asError(err, nil)
	w.breaks++
	retry := w.retry
	if _, limited := w.ctx.Deadline(); limited && w.answered && retry.Attempts > 1 {
		retry.Attempts = math.MaxInt
	}
	delay, again := retry.pause(w.ctx, w.breaks, said)
	if !again || sleep(w.ctx, delay) != nil {
		return said
	}
	for _, each := range w.waiting {
		each.due = time.Now()
	}
	return nil
}
