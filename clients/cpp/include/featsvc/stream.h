/// @file
/// Many questions over one stream.
#pragma once

#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "featsvc/error.h"
#include "featsvc/v1/stream.pb.h"

namespace featsvc {

/// One question of a stream, under the caller's own name.
template <class Q>
struct Question {
  std::string id;
  Q request;
};

/// Gives one question after the other, then nothing. Called by a thread of its own, when there is room for a question, so that no
/// answer waits for the next one; destroying the answers waits for it to come back.
template <class Q>
using Questions = std::function<std::optional<Question<Q>>()>;

/// The questions in a container.
template <class Container>
auto questions(Container container) {
  using Q = decltype(container.begin()->request);
  auto held = std::make_shared<Container>(std::move(container));
  return Questions<Q>([held, at = held->begin()]() mutable {
    return at == held->end() ? std::nullopt : std::optional<Question<Q>>(*at++);
  });
}

/// The answer to one question of a stream.
template <class R>
struct Answer {
  /// The caller's name of the question.
  std::string id;
  /// The answer, where there is no error.
  R reply;
  /// Why there is none; other questions are not concerned.
  std::optional<Error> error;
  /// What the answer has taken, where the server says so.
  std::optional<v1::Timing> timing;
};

/// The answers of a stream as they are done, for one thread at a time. Destroying them ends all that is under way.
template <class R>
class Answers {
 public:
  /// Where answers come from.
  class Source {
   public:
    virtual ~Source() = default;
    virtual std::optional<Answer<R>> next() = 0;
  };

  explicit Answers(std::unique_ptr<Source> source) : source_(std::move(source)) {}

  /// The next answer; none when all are there. Throws Error where the connection fails, and some questions stay without
  /// answer.
  std::optional<Answer<R>> next() { return source_->next(); }

  /// Goes over the answers, once.
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Answer<R>;
    using difference_type = std::ptrdiff_t;
    using pointer = Answer<R>*;
    using reference = Answer<R>&;

    explicit Iterator(Answers* answers = nullptr) : answers_(answers) {
      if (answers_ != nullptr) ++*this;
    }
    reference operator*() { return *now_; }
    pointer operator->() { return &*now_; }
    Iterator& operator++() {
      if (!(now_ = answers_->next())) answers_ = nullptr;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return answers_ != other.answers_; }
    bool operator==(const Iterator& other) const { return answers_ == other.answers_; }

   private:
    Answers* answers_;
    std::optional<Answer<R>> now_;
  };

  Iterator begin() { return Iterator(this); }
  Iterator end() { return Iterator(); }

 private:
  std::unique_ptr<Source> source_;
};

}  // namespace featsvc
