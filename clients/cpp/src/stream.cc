#include "featsvc/stream.h"

#include <algorithm>
#include <limits>
#include <map>

#include "source.h"

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
        size_(std::max<std::size_t>(size, 1)),
        deadline_(connection_->deadline(timeout)),
        source_(std::move(questions), signal_) {}

  std::optional<Answer<R>> next() override {
    while (refill()) {
      // Room for all answers: where both sides wait to send, neither receives.
      if (!line_ && !waiting_.empty()) {
        line_ = std::make_unique<Line<M, A>>(*connection_, deadline_, open_, size_, signal_);
      }
      wait(line_ ? send() : end_of_time());
      if (!line_) continue;
      if (std::optional<A> message = line_->next()) {
        if (std::optional<Answer<R>> answer = take(*message)) return answer;
      } else if (line_->is_over()) {
        const Error error = line_->end();
        line_.reset();
        // While nothing waits, a stream may end as it likes: the next question opens another.
        if (!waiting_.empty()) go_on_after(error);
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

  /// Takes the question that has come, and wants another where there is room; false where nothing is left to be answered.
  bool refill() {
    if (is_over_) return false;
    if (std::optional<Question<Q>> question = source_.taken()) {
      Waiting& each = waiting_[++asked_];
      each.id = std::move(question->id);
      each.message.set_request_id(std::to_string(asked_));
      *each.message.mutable_request() = std::move(question->request);
      each.due = Clock::now();
    }
    const bool has_more = waiting_.size() >= size_ || source_.draw();
    return has_more || !waiting_.empty();
  }

  /// Waits until something has come, or the time has. Throws where that is the time of the stream, which nothing else ends.
  void wait(Clock::time_point until) {
    std::unique_lock lock(signal_.mutex);
    const bool has_come = signal_.has_changed.wait_until(
        lock, until, [this] { return source_.has_news() || (line_ && line_->has_news()); });
    if (has_come || line_ || !deadline_ || std::chrono::system_clock::now() < *deadline_) return;
    is_over_ = true;
    throw Error(grpc::StatusCode::DEADLINE_EXCEEDED, "the time of the stream is over before the next question");
  }

  /// When to look again while only the source can give anything.
  Clock::time_point end_of_time() const {
    const auto left = deadline_ ? *deadline_ - std::chrono::system_clock::now() : std::chrono::hours(1);
    return Clock::now() + std::chrono::duration_cast<Clock::duration>(left);
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
    Answer<R> answer{asked.id, {}, {}, {}};
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
      if (message.has_timing()) answer.timing = std::move(*message.mutable_timing());
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
      is_over_ = true;
      throw error;
    }
    std::this_thread::sleep_for(*pause);
    for (auto& [number, each] : waiting_) each.due = Clock::now();
  }

  std::shared_ptr<const Connection> connection_;
  Open open_;
  std::size_t size_;
  Deadline deadline_;
  Signal signal_;
  Source<Q> source_;
  /// Whether nothing more is to be given, because an error ended all.
  bool is_over_ = false;
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

Answers<v1::EmbedPyramidResponse> Client::stream_embed_pyramid(
    Questions<v1::EmbedPyramidRequest> questions, std::size_t window, Timeout timeout) const {
  return streamed(connection_, connection_->clip.get(), &v1::ClipService::Stub::EmbedPyramidStream, std::move(questions),
                  window, timeout);
}

Answers<v1::PredictMasksResponse> Client::stream_predict_masks(
    Questions<v1::PredictMasksRequest> questions, std::size_t window, Timeout timeout) const {
  return streamed(connection_, connection_->sam2.get(), &v1::Sam2Service::Stub::PredictMasksStream, std::move(questions),
                  window, timeout);
}

Answers<v1::DescribeObjectsResponse> Client::stream_describe_objects(
    Questions<v1::DescribeObjectsRequest> questions, std::size_t window, Timeout timeout) const {
  return streamed(connection_, connection_->objects.get(), &v1::ObjectService::Stub::DescribeObjectsStream,
                  std::move(questions), window, timeout);
}

Answers<v1::FindObjectsResponse> Client::stream_find_objects(
    Questions<v1::FindObjectsRequest> questions, std::size_t window, Timeout timeout) const {
  return streamed(connection_, connection_->objects.get(), &v1::ObjectService::Stub::FindObjectsStream,
                  std::move(questions), window, timeout);
}

}  // namespace featsvc
