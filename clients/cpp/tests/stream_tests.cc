/// Streams to a server that answers as the test says.

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "server.h"

namespace {

using namespace featsvc;
using grpc::StatusCode;

/// Questions with the names q0, q1 and so on.
Questions<Request> numbered(int count) {
  return [i = 0, count]() mutable -> std::optional<Question<Request>> {
    if (i == count) return std::nullopt;
    Question<Request> question{"q" + std::to_string(i), {}};
    *question.request.mutable_image() = picture(std::string(1, static_cast<char>(i++)));
    return question;
  };
}

void answer(Both& both, const StreamRequest& asked) {
  StreamResponse response;
  response.set_request_id(asked.request_id());
  *response.mutable_response() = floats_of(asked.request().image().content());
  response.mutable_timing()->set_batch_size(2);
  both.Write(response);
}

void refuse(Both& both, const StreamRequest& asked, const std::string& code, std::uint32_t retry_after_ms) {
  StreamResponse response;
  response.set_request_id(asked.request_id());
  response.mutable_error()->set_code(code);
  response.mutable_error()->set_retry_after_ms(retry_after_ms);
  both.Write(response);
}

/// Calls for every question until the client has ended or it gives a failure.
Script each(std::function<grpc::Status(Both&, const StreamRequest&)> act) {
  return {{}, {}, [act = std::move(act)](Both& both) {
    for (StreamRequest asked; both.Read(&asked);) {
      if (const grpc::Status status = act(both, asked); !status.ok()) return status;
    }
    return grpc::Status::OK;
  }, {}};
}

/// The answers by name: the first byte of each, or the code of its error.
std::map<std::string, std::string> collected(const Server& server, int count, std::size_t window) {
  std::map<std::string, std::string> found;
  const Client client(server.address(), quick());
  for (const auto& each : client.stream_dino_features(numbered(count), window)) {
    EXPECT_EQ(found.count(each.id), 0u) << each.id << " came twice";
    EXPECT_EQ(each.timing && each.timing->batch_size() == 2, !each.error) << each.id;
    found[each.id] = each.error ? name_of(each.error->code) : std::to_string(each.reply.features().data()[0]);
  }
  return found;
}

void expect_all(const std::map<std::string, std::string>& found, int count) {
  EXPECT_EQ(found.size(), static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) EXPECT_EQ(found.at("q" + std::to_string(i)), std::to_string(i));
}

TEST(Streams, give_every_question_its_own_answer_in_any_order) {
  std::optional<StreamRequest> held;
  Server server(each([&](Both& both, const StreamRequest& asked) {
    if (!held) {
      held = asked;
    } else {
      // The later one first.
      answer(both, asked);
      answer(both, *held);
      held.reset();
    }
    return grpc::Status::OK;
  }));
  expect_all(collected(server, 10, 4), 10);
}

TEST(Streams, have_no_more_questions_under_way_than_the_window_holds) {
  constexpr std::size_t WINDOW = 3;
  std::vector<StreamRequest> waiting;
  Server server(each([&](Both& both, const StreamRequest& asked) {
    waiting.push_back(asked);
    if (waiting.size() > WINDOW) return grpc::Status(StatusCode::INTERNAL, "more than the window");
    if (waiting.size() == WINDOW) {
      answer(both, waiting.front());
      waiting.erase(waiting.begin());
    }
    return grpc::Status::OK;
  }));
  const Client client(server.address(), quick());
  auto answers = client.stream_dino_features(numbered(20), WINDOW);
  // The server keeps the last two for ever; leaving ends them.
  for (std::size_t seen = 0; seen < 20 - WINDOW + 1; ++seen) EXPECT_TRUE(answers.next());
}

TEST(Streams, let_large_questions_and_answers_not_wait_for_each_other) {
  // More than flow control lets either side send ahead.
  const std::string large(1 << 20, 'x');
  Server server({{}, {}, [](Both& both) {
    // Reads no further question before two answers are out.
    for (StreamRequest one, other; both.Read(&one) && both.Read(&other);) {
      answer(both, one);
      answer(both, other);
    }
    return grpc::Status::OK;
  }, {}});
  const Client client(server.address(), quick());
  auto answers = client.stream_dino_features([&] {
    Question<Request> question;
    *question.request.mutable_image() = picture(large);
    return question;
  }, 8);
  for (int seen = 0; seen < 20; ++seen) {
    const auto found = answers.next();
    ASSERT_TRUE(found && !found->error);
    EXPECT_EQ(found->reply.features().data().size(), large.size());
  }
}

TEST(Streams, let_a_bad_question_fail_alone) {
  Server server(each([](Both& both, const StreamRequest& asked) {
    asked.request().image().content()[0] == 1 ? refuse(both, asked, "INVALID_ARGUMENT", 0) : answer(both, asked);
    return grpc::Status::OK;
  }));
  const std::map<std::string, std::string> expected = {{"q0", "0"}, {"q1", "INVALID_ARGUMENT"}, {"q2", "2"}};
  EXPECT_EQ(collected(server, 3, 2), expected);
}

TEST(Streams, ask_again_what_the_server_has_no_place_for) {
  std::map<std::string, int> refused;
  Server server(each([&](Both& both, const StreamRequest& asked) {
    refused[asked.request_id()]++ < 7 ? refuse(both, asked, "RESOURCE_EXHAUSTED", 2) : answer(both, asked);
    return grpc::Status::OK;
  }));
  expect_all(collected(server, 5, 2), 5);
}

TEST(Streams, do_not_ask_again_for_an_answer_over_the_limit) {
  int attempts = 0;
  Server server(each([&](Both& both, const StreamRequest& asked) {
    ++attempts;
    refuse(both, asked, "RESOURCE_EXHAUSTED", 0);
    return grpc::Status::OK;
  }));
  EXPECT_EQ(collected(server, 1, 1).at("q0"), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(attempts, 1);
}

TEST(Streams, do_not_ask_again_what_fails_for_a_reason) {
  int attempts = 0;
  Server server(each([&](Both& both, const StreamRequest& asked) {
    ++attempts;
    StreamResponse response;
    response.set_request_id(asked.request_id());
    response.mutable_error()->set_code("UNAVAILABLE");
    response.mutable_error()->set_reason("killed-workers");
    both.Write(response);
    return grpc::Status::OK;
  }));
  EXPECT_EQ(collected(server, 1, 1).at("q0"), "UNAVAILABLE");
  EXPECT_EQ(attempts, 1);
}

/// A source that gives a question when it is told to.
class Slow {
 public:
  explicit Slow(int count) : next_(numbered(count)) {}
  Questions<Request> questions() {
    return [this] {
      std::unique_lock lock(mutex_);
      has_changed_.wait(lock, [this] { return permits_ > 0; });
      --permits_;
      return next_();
    };
  }
  void permit(int more) {
    const std::lock_guard lock(mutex_);
    permits_ += more;
    has_changed_.notify_all();
  }

 private:
  Questions<Request> next_;
  std::mutex mutex_;
  std::condition_variable has_changed_;
  int permits_ = 1;
};

grpc::Status answered(Both& both, const StreamRequest& asked) {
  answer(both, asked);
  return grpc::Status::OK;
}

TEST(Streams, give_an_answer_before_the_next_question_is_known) {
  Server server(each(answered));
  const Client client(server.address(), quick());
  Slow slow(3);
  int seen = 0;
  for (const auto& each : client.stream_dino_features(slow.questions(), 4)) {
    EXPECT_EQ(each.id, "q" + std::to_string(seen++));
    slow.permit(1);
  }
  EXPECT_EQ(seen, 3);
}

TEST(Streams, end_at_their_deadline_while_the_source_takes_its_time) {
  Server server(each(answered));
  const Client client(server.address(), quick());
  Slow slow(2);
  auto answers = client.stream_dino_features(slow.questions(), 4, milliseconds(500));
  try {
    // The answer may come before it, on a machine that has time.
    while (answers.next()) continue;
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, StatusCode::DEADLINE_EXCEEDED);
  }
  EXPECT_FALSE(answers.next());
  slow.permit(2);
}

TEST(Streams, throw_what_their_source_throws) {
  Server server(each(answered));
  const Client client(server.address(), quick());
  auto answers = client.stream_dino_features([]() -> std::optional<Question<Request>> { throw std::domain_error("damaged"); });
  EXPECT_THROW(answers.next(), std::domain_error);
}

TEST(Streams, that_break_go_on_with_what_waits) {
  int streams = 0;
  Server server({{}, {}, [&](Both& both) {
    ++streams;
    StreamRequest asked;
    for (int count = 0; both.Read(&asked); ++count) {
      if (count == 3) return REFUSED;
      answer(both, asked);
    }
    return grpc::Status::OK;
  }, {}});
  expect_all(collected(server, 20, 4), 20);
  EXPECT_GE(streams, 2);
}

TEST(Streams, wait_until_their_deadline_for_a_server_that_has_answered) {
  int streams = 0;
  Server server({{}, {}, [&](Both& both) {
    if (++streams > 1 && streams < 3 * quick().retry.attempts) return REFUSED;
    StreamRequest asked;
    for (int count = 0; both.Read(&asked); ++count) {
      if (streams == 1 && count == 1) return REFUSED;
      answer(both, asked);
    }
    return grpc::Status::OK;
  }, {}});
  expect_all(collected(server, 5, 2), 5);
}

TEST(Streams, that_never_open_fail_after_all_attempts) {
  int streams = 0;
  Server server({{}, {}, [&](Both&) {
    ++streams;
    return REFUSED;
  }, {}});
  const Client client(server.address(), quick());
  auto answers = client.stream_dino_features(numbered(5), 2);
  EXPECT_THROW(answers.next(), Error);
  EXPECT_EQ(streams, quick().retry.attempts);
  EXPECT_FALSE(answers.next());
}

TEST(Streams, end_at_their_deadline_while_a_question_waits_for_an_answer_or_to_be_sent) {
  for (const std::size_t size : {1u, 1u << 22}) {
    Server server({{}, {}, [](Both& both) {
      // Reads one question and no more.
      StreamRequest asked;
      both.Read(&asked);
      while (both.Write(StreamResponse())) std::this_thread::yield();
      return grpc::Status::OK;
    }, {}});
    const Client client(server.address(), quick());
    const auto begin = std::chrono::steady_clock::now();
    auto answers = client.stream_dino_features([&] {
      Question<Request> question;
      *question.request.mutable_image() = picture(std::string(size, 'x'));
      return question;
    }, 4, milliseconds(300));
    try {
      answers.next();
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code, StatusCode::DEADLINE_EXCEEDED);
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
  }
}

TEST(Streams, ask_what_is_in_a_container) {
  Server server(each([](Both& both, const StreamRequest& asked) {
    answer(both, asked);
    return grpc::Status::OK;
  }));
  std::vector<Question<Request>> asked(2);
  asked[0].id = "a";
  asked[1].id = "b";
  for (auto& each : asked) *each.request.mutable_image() = picture("x");
  std::set<std::string> found;
  const Client client(server.address(), quick());
  for (const auto& each : client.stream_dino_features(questions(asked))) found.insert(each.id);
  EXPECT_EQ(found, (std::set<std::string>{"a", "b"}));
}

}  // namespace
