/// The caller's questions, read by a thread of its own.
#pragma once

#include <exception>
#include <thread>
#include <utility>

#include "line.h"

namespace featsvc {

/// Reads a question when one is wanted, so that answers do not wait for it.
template <class Q>
class Source {
 public:
  Source(Questions<Q> questions, Signal& signal)
      : questions_(std::move(questions)), signal_(signal), thread_([this] { read(); }) {}
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  /// Waits for the caller's own code to come back, which may refer to what its thread will destroy next.
  ~Source() {
    {
      const std::lock_guard lock(signal_.mutex);
      is_left_ = true;
      signal_.has_changed.notify_all();
    }
    thread_.join();
  }

  /// Wants one more, unless there is one to come already; false where there is none.
  bool draw() {
    const std::lock_guard lock(signal_.mutex);
    if (state_ == State::IDLE) {
      state_ = State::WANTED;
      signal_.has_changed.notify_all();
    }
    return state_ != State::OVER;
  }

  /// Whether there is something to take. The signal's mutex is held.
  bool has_news() const { return state_ == State::DRAWN; }

  /// What has been read; none where nothing has. Throws what the caller's own code has thrown.
  std::optional<Question<Q>> taken() {
    const std::lock_guard lock(signal_.mutex);
    if (state_ != State::DRAWN) return std::nullopt;
    state_ = drawn_ ? State::IDLE : State::OVER;
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
    return std::exchange(drawn_, std::nullopt);
  }

 private:
  enum class State { IDLE, WANTED, DRAWN, OVER };

  void read() {
    for (std::unique_lock lock(signal_.mutex);;) {
      signal_.has_changed.wait(lock, [this] { return is_left_ || state_ == State::WANTED; });
      if (is_left_) return;
      lock.unlock();
      std::optional<Question<Q>> question;
      std::exception_ptr thrown;
      try {
        question = questions_();
      } catch (...) {
        thrown = std::current_exception();
      }
      lock.lock();
      drawn_ = std::move(question);
      thrown_ = thrown;
      state_ = State::DRAWN;
      signal_.has_changed.notify_all();
      if (!drawn_) return;
    }
  }

  Questions<Q> questions_;
  Signal& signal_;
  State state_ = State::IDLE;
  std::optional<Question<Q>> drawn_;
  std::exception_ptr thrown_;
  bool is_left_ = false;
  std::thread thread_;
};

}  // namespace featsvc
