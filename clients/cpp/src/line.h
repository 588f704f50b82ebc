/// One stream, received by a thread of its own.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>

#include "connection.h"

namespace featsvc {

/// Receives while the caller sends.
template <class M, class A>
class Line {
 public:
  using Stream = std::unique_ptr<grpc::ClientReaderWriter<M, A>>;
  using Clock = std::chrono::steady_clock;

  /// Holds `room` messages that the caller has not taken.
  Line(const Connection& connection, const Deadline& deadline, const std::function<Stream(grpc::ClientContext*)>& open,
       std::size_t room)
      : room_(room) {
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

  /// The next message; none where the stream has ended or the time has come.
  std::optional<A> next(Clock::time_point until) {
    std::unique_lock lock(mutex_);
    has_changed_.wait_until(lock, until, [this] { return is_over_ || !messages_.empty(); });
    if (messages_.empty()) return std::nullopt;
    std::optional<A> message(std::move(messages_.front()));
    messages_.pop_front();
    has_changed_.notify_all();
    return message;
  }

  /// Whether there is nothing more to come.
  bool is_over() {
    const std::lock_guard lock(mutex_);
    return is_over_ && messages_.empty();
  }

  /// Says that no question follows, and gives the server a moment to end its side too.
  void close() {
    stream_->WritesDone();
    next(Clock::now() + std::chrono::seconds(1));
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
      std::unique_lock lock(mutex_);
      has_changed_.wait(lock, [this] { return is_left_ || messages_.size() < room_; });
      if (is_left_) continue;
      messages_.push_back(std::move(message));
      has_changed_.notify_all();
    }
    const std::lock_guard lock(mutex_);
    is_over_ = true;
    has_changed_.notify_all();
  }

  /// Says that nobody takes messages any more.
  void leave() {
    const std::lock_guard lock(mutex_);
    is_left_ = true;
    has_changed_.notify_all();
  }

  grpc::ClientContext context_;
  Stream stream_;
  std::mutex mutex_;
  std::condition_variable has_changed_;
  std::deque<A> messages_;
  std::size_t room_;
  bool is_over_ = false;
  bool is_left_ = false;
  std::thread receiver_;
};

}  // namespace featsvc
