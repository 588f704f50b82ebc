package featsvc

import "iter"

// source reads the caller's questions, each when there is room for it, in a goroutine of its own: answers do not wait for it.
type source[Q any] struct {
	// wanted has one message for each question to be read, and drawn what comes of it.
	wanted chan struct{}
	drawn  chan drawn[Q]
	// left is closed when nobody wants more, and ended when the goroutine has come to its end.
	left, ended chan struct{}
	drawing     bool
	over        bool
}

// drawn is a question, or the end: more is not set, and panicked is what the caller's own code has panicked with, if it has.
type drawn[Q any] struct {
	id       string
	request  Q
	more     bool
	panicked any
}

func read[Q any](questions iter.Seq2[string, Q]) *source[Q] {
	s := &source[Q]{
		wanted: make(chan struct{}, 1), drawn: make(chan drawn[Q], 1), left: make(chan struct{}), ended: make(chan struct{}),
	}
	go func() {
		defer close(s.ended)
		defer func() {
			// There is room unless the caller has left.
			select {
			case s.drawn <- drawn[Q]{panicked: recover()}:
			default:
			}
		}()
		if !s.goesOn() {
			return
		}
		for id, request := range questions {
			s.drawn <- drawn[Q]{id: id, request: request, more: true}
			if !s.goesOn() {
				return
			}
		}
	}()
	return s
}

// goesOn waits until another question is wanted; false where none will be.
func (s *source[Q]) goesOn() bool {
	select {
	case <-s.wanted:
		return true
	case <-s.left:
		return false
	}
}

// draw wants one more, unless there is one to come already; false where there is none.
func (s *source[Q]) draw() bool {
	if !s.drawing && !s.over {
		s.drawing = true
		s.wanted <- struct{}{}
	}
	return !s.over
}

// took takes note of what has been drawn; false where it is the end.
func (s *source[Q]) took(got drawn[Q]) bool {
	s.drawing = false
	if got.panicked != nil {
		panic(got.panicked)
	}
	s.over = !got.more
	return got.more
}

// leave ends the goroutine; where it waits for the caller's own code, that comes to its end when it gives another question.
func (s *source[Q]) leave() {
	close(s.left)
	if !s.drawing {
		<-s.ended
	}
}
