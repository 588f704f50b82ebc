/// One stream, received by a thread of its own.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>

#include "connection.h"

namespace featsvc {

/// What the threads of a stream share: each change is told to who waits for any.
struct Signal {
  std::mutex mutex;
  std::condition_variable has_changed;
};

/// Receives while the caller sends.
template <class M, class A>
class Line {
 public:
  using Stream = std::unique_ptr<grpc::ClientReaderWriter<M, A>>;
  using Clock = std::chrono::steady_clock;

  /// Holds `room` messages that the caller has not taken.
  Line(const Connection& connection, const Deadline& deadline, const std::function<Stream(grpc::ClientContext*)>& open,
       std::size_t room, Signal& signal)
      : signal_(signal), room_(room) {
    connection.prepare(context_, deadline);
    stream_ = open(&context_);
    receiver_ = std::thread([this] { receive(); });
  }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  ~Line() {
    if (receiver_.joinable()) {
      context_.TryCancel();
      leave();
      end();
    }
  }

  /// Sends a message; false where the stream has ended, and `end` says why.
  bool send(const M& message) { return stream_->Write(message); }

  /// Whether there is a message, or none will come. The signal's mutex is held.
  bool has_news() const { return is_over_ || !messages_.empty(); }

  /// The next message, if one is there.
  std::optional<A> next() {
    const std::lock_guard lock(signal_.mutex);
    if (messages_.empty()) return std::nullopt;
    std::optional<A> message(std::move(messages_.front()));
    messages_.pop_front();
    signal_.has_changed.notify_all();
    return message;
  }

  /// Whether there is nothing more to come.
  bool is_over() {
    const std::lock_guard lock(signal_.mutex);
    return is_over_ && messages_.empty();
  }

  /// Says that no question follows, and gives the server a moment to end its side too.
  void close() {
    stream_->WritesDone();
    std::unique_lock lock(signal_.mutex);
    signal_.has_changed.wait_for(lock, std::chrono::seconds(1), [this] { return has_news(); });
  }

  /// How the stream ended; only once, and when it has.
  Error end() {
    receiver_.join();
    const grpc::Status status = stream_->Finish();
    if (!status.ok()) return error_of(status, context_);
    return Error(grpc::StatusCode::UNAVAILABLE, "the server ended the stream before it had answered all");
  }

 private:
  void receive() {
    for (A message; stream_->Read(&message); message = A()) {
      std::unique_lock lock(signal_.mutex);
      signal_.has_changed.wait(lock, [this] { return is_left_ || messages_.size() < room_; });
      if (is_left_) continue;
      messages_.push_back(std::move(message));
      signal_.has_changed.notify_all();
    }
    const std::lock_guard lock(signal_.mutex);
    is_over_ = true;
    signal_.has_changed.notify_all();
  }

  /// Says that nobody takes messages any more.
  void leave() {
    const std::lock_guard lock(signal_.mutex);
    is_left_ = true;
    signal_.has_changed.notify_all();
  }

  grpc::ClientContext context_;
  Stream stream_;
  Signal& signal_;
  std::deque<A> messages_;
  std::size_t room_;
  bool is_over_ = false;
  bool is_left_ = false;
  std::thread receiver_;
};

}  // namespace featsvc
