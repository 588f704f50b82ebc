#include "featsvc/stream.h"

#include <algorithm>
#include <limits>
#include <map>

#include "line.h"

namespace featsvc {
namespace {

/// The questions that wait for an answer, by the numbers that the server knows them by.
template <class Q, class R, class M, class A>
class Window final : public Answers<R>::Source {
  using Clock = std::chrono::steady_clock;

 public:
  using Open = std::function<typename Line<M, A>::Stream(grpc::ClientContext*)>;

  Window(std::shared_ptr<const Connection> connection, Open open, Questions<Q> questions, std::size_t size,
         const Timeout& timeout)
      : connection_(std::move(connection)),
        open_(std::move(open)),
        questions_(std::move(questions)),
        size_(std::max<std::size_t>(size, 1)),
        deadline_(connection_->deadline(timeout)) {}

  std::optional<Answer<R>> next() override {
    while (refill()) {
      // Room for all answers: where both sides wait to send, neither receives.
      if (!line_) line_ = std::make_unique<Line<M, A>>(*connection_, deadline_, open_, size_);
      const Clock::time_point due = send();
      if (std::optional<A> message = line_->next(due)) {
        if (std::optional<Answer<R>> answer = take(*message)) return answer;
      } else if (line_->is_over()) {
        const Error error = line_->end();
        line_.reset();
        go_on_after(error);
      }
    }
    if (line_) line_->close();
    line_.reset();
    return std::nullopt;
  }

 private:
  struct Waiting {
    std::string id;
    M message;
    /// Refusals that did not say when to come back.
    int failed = 0;
    /// When to send it (again); none while the server has it.
    std::optional<Clock::time_point> due;
  };

  /// Takes questions until the window is full; false where none waits.
  bool refill() {
    while (has_more_ && waiting_.size() < size_) {
      std::optional<Question<Q>> question = questions_();
      if (!(has_more_ = question.has_value())) break;
      Waiting& each = waiting_[++asked_];
      each.id = std::move(question->id);
      each.message.set_request_id(std::to_string(asked_));
      *each.message.mutable_request() = std::move(question->request);
      each.due = Clock::now();
    }
    return !waiting_.empty();
  }

  /// Sends what is due, in the order in which it was asked, and gives the time when something else is.
  Clock::time_point send() {
    const Clock::time_point never = Clock::now() + std::chrono::hours(1);
    Clock::time_point next = never;
    for (auto& [number, each] : waiting_) {
      if (!each.due) continue;
      if (*each.due > Clock::now()) {
        next = std::min(next, *each.due);
        continue;
      }
      // It fails only where the stream has ended.
      if (!line_->send(each.message)) return never;
      each.due.reset();
    }
    return next;
  }

  /// What a message means to the caller; none where it means nothing yet.
  std::optional<Answer<R>> take(A& message) {
    const auto found = std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& each) {
      return each.second.message.request_id() == message.request_id();
    });
    if (found == waiting_.end()) return std::nullopt;
    Waiting& asked = found->second;
    breaks_ = 0;
    has_answered_ = true;
    Answer<R> answer{asked.id, {}, {}};
    if (message.has_error()) {
      answer.error = error_of(message.error());
      if (answer.error->retry_after.count() == 0) ++asked.failed;
      // Refusals that say when to come back are limited by the deadline alone.
      const auto pause = connection_->retry.pause(deadline_, asked.failed, *answer.error);
      if (pause && connection_->retry.attempts > 1) {
        asked.due = Clock::now() + *pause;
        return std::nullopt;
      }
    } else {
      answer.reply = std::move(*message.mutable_response());
    }
    waiting_.erase(found);
    return answer;
  }

  /// Waits before a new stream, over which all that wait go again; throws where that is of no use. A server that has
  /// answered before may be restarting: where there is a deadline, that alone limits the wait for it.
  void go_on_after(const Error& error) {
    ++breaks_;
    RetryPolicy retry = connection_->retry;
    if (deadline_ && has_answered_ && retry.attempts > 1) retry.attempts = std::numeric_limits<int>::max();
    const auto pause = retry.pause(deadline_, breaks_, error);
    if (!pause) {
      // The stream is over: a caller that asks on gets no question sent again.
      waiting_.clear();
      has_more_ = false;
      throw error;
    }
    std::this_thread::sleep_for(*pause);
    for (auto& [number, each] : waiting_) each.due = Clock::now();
  }

  std::shared_ptr<const Connection> connection_;
  Open open_;
  Questions<Q> questions_;
  std::size_t size_;
  Deadline deadline_;
  bool has_more_ = true;
  std::uint64_t asked_ = 0;
  std::map<std::uint64_t, Waiting> waiting_;
  /// Streams that broke off without an answer in between.
  int breaks_ = 0;
  bool has_answered_ = false;
  std::unique_ptr<Line<M, A>> line_;
};

template <class Stub, class M, class A, class Q>
auto streamed(std::shared_ptr<const Connection> connection, Stub* stub,
              std::unique_ptr<grpc::ClientReaderWriter<M, A>> (Stub::*method)(grpc::ClientContext*), Questions<Q> questions,
              std::size_t size, const Timeout& timeout) {
  using R = std::decay_t<decltype(std::declval<A>().response())>;
  return Answers<R>(std::make_unique<Window<Q, R, M, A>>(
      std::move(connection), [stub, method](grpc::ClientContext* context) { return (stub->*method)(context); },
      std::move(questions), size, timeout));
}

}  // namespace

Answers<v1::ClipServiceExtractFeaturesResponse> Client::stream_clip_features(
    Questions<v1::ClipServiceExtractFeaturesRequest> questions, std::size_t window, Timeout timeout) const {
  return streamed(connection_, connection_->clip.get(), &v1::ClipService::Stub::ExtractFeaturesStream, std::move(questions),
                  window, timeout);
}

Answers<v1::DinoServiceExtractFeaturesResponse> Client::stream_dino_features(
    Questions<v1::DinoServiceExtractFeaturesRequest> questions, std::size_t window, Timeout timeout) const {
  return streamed(connection_, connection_->dino.get(), &v1::DinoService::Stub::ExtractFeaturesStream, std::move(questions),
                  window, timeout);
}

Answers<v1::PredictMasksResponse> Client::stream_predict_masks(
    Questions<v1::PredictMasksRequest> questions, std::size_t window, Timeout timeout) const {
  return streamed(connection_, connection_->sam2.get(), &v1::Sam2Service::Stub::PredictMasksStream, std::move(questions),
                  window, timeout);
}

}  // namespace featsvc
