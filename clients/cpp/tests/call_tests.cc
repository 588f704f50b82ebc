/// Calls of a server that answers as the test says.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server.h"

namespace {

using namespace featsvc;
using grpc::StatusCode;
using Fail = std::function<grpc::Status(grpc::ServerContext&)>;

/// One call of a server that fails so many times.
struct Asked {
  int attempts = 0;
  std::optional<Error> error;
  std::chrono::steady_clock::duration time;
};

Asked asked(int failures, const Fail& fail, const Options& options = quick()) {
  Asked found;
  Server server({[&](grpc::ServerContext& context, const Request&, Response& reply) {
    if (++found.attempts <= failures) return fail(context);
    reply = floats_of("\x07");
    return grpc::Status::OK;
  }, {}, {}, {}});
  const auto begin = std::chrono::steady_clock::now();
  try {
    Client(server.address(), options).dino_features_at_once({});
  } catch (const Error& error) {
    found.error = error;
  }
  found.time = std::chrono::steady_clock::now() - begin;
  return found;
}

/// A refusal with what the server says beside it.
Fail refusal(StatusCode code, const std::string& name = "x", const std::string& value = "x") {
  return [=](grpc::ServerContext& context) {
    context.AddTrailingMetadata(name, value);
    return grpc::Status(code, "refused");
  };
}

TEST(Calls, are_tried_again_where_the_server_is_unavailable) {
  const Asked found = asked(2, refusal(StatusCode::UNAVAILABLE));
  EXPECT_FALSE(found.error);
  EXPECT_EQ(found.attempts, 3);
}

TEST(Calls, ask_a_full_server_again_not_before_it_says) {
  const Asked found = asked(1, refusal(StatusCode::RESOURCE_EXHAUSTED, "retry-after-ms", "150"));
  EXPECT_FALSE(found.error);
  EXPECT_EQ(found.attempts, 2);
  EXPECT_GE(found.time, milliseconds(150));
}

TEST(Calls, are_not_tried_again_where_it_would_not_help) {
  EXPECT_EQ(asked(9, refusal(StatusCode::INVALID_ARGUMENT)).attempts, 1);
  EXPECT_EQ(asked(9, refusal(StatusCode::RESOURCE_EXHAUSTED, "featsvc-reason", "reply-too-large")).attempts, 1);
  EXPECT_EQ(asked(9, refusal(StatusCode::UNAVAILABLE, "featsvc-reason", "killed-workers")).attempts, 1);
}

TEST(Calls, are_limited_in_their_attempts) {
  const Asked found = asked(99, refusal(StatusCode::UNAVAILABLE));
  EXPECT_EQ(found.attempts, quick().retry.attempts);
  ASSERT_TRUE(found.error);
  EXPECT_EQ(found.error->code, StatusCode::UNAVAILABLE);
}

TEST(Calls, make_no_pause_longer_than_their_time) {
  Options options = quick();
  options.timeout = std::chrono::seconds(20);
  const Asked found = asked(9, refusal(StatusCode::RESOURCE_EXHAUSTED, "retry-after-ms", "60000"), options);
  ASSERT_TRUE(found.error);
  EXPECT_EQ(found.error->retry_after, std::chrono::minutes(1));
  EXPECT_LT(found.time, std::chrono::seconds(10));
}

TEST(Calls, name_the_bad_fields) {
  google::rpc::BadRequest bad;
  for (const char* field : {"image", "params"}) {
    auto& each = *bad.add_field_violations();
    each.set_field(field);
    each.set_description("is wrong");
  }
  google::rpc::Status said;
  said.set_code(StatusCode::INVALID_ARGUMENT);
  said.add_details()->PackFrom(bad);
  const Asked found = asked(9, [&](grpc::ServerContext& context) {
    context.AddTrailingMetadata("x-request-id", "abc");
    return grpc::Status(StatusCode::INVALID_ARGUMENT, "two bad fields", said.SerializeAsString());
  });
  ASSERT_TRUE(found.error);
  EXPECT_STREQ(found.error->what(), "featsvc: INVALID_ARGUMENT: two bad fields");
  EXPECT_EQ(found.error->request_id, "abc");
  ASSERT_EQ(found.error->violations.size(), 2u);
  EXPECT_EQ(found.error->violations[1].field, "params");
  EXPECT_EQ(found.error->violations[1].description, "is wrong");
}

TEST(Calls, send_the_key_and_the_picture_as_given) {
  std::string key, content;
  Server server({[&](grpc::ServerContext& context, const Request& request, Response& reply) {
    const auto sent = context.client_metadata().find("authorization")->second;
    const auto priority = context.client_metadata().find("x-featsvc-priority")->second;
    key = std::string(sent.data(), sent.size()) + " " + std::string(priority.data(), priority.size());
    content = request.image().content();
    reply = floats_of("\x07");
    return grpc::Status::OK;
  }, {}, {}, {}});
  const std::string path = testing::TempDir() + "featsvc-picture";
  std::ofstream(path) << "a file";
  Options options = quick();
  options.api_key = "mine";
  options.priority = -3;
  Request request;
  *request.mutable_image() = picture_file(path);
  Client(server.address(), options).dino_features_at_once(request);
  EXPECT_EQ(key, "Bearer mine -3");
  EXPECT_EQ(content, "a file");
  std::remove(path.c_str());
  EXPECT_THROW(picture_file(path), std::system_error);
}

TEST(Calls, do_not_ask_again_for_a_message_over_their_limit) {
  int attempts = 0;
  Server server({[&](grpc::ServerContext&, const Request&, Response& reply) {
    ++attempts;
    reply = floats_of(std::string(4096, 'x'));
    return grpc::Status::OK;
  }, {}, {}, {}});
  Options options = quick();
  options.max_message_bytes = 1024;
  try {
    Client(server.address(), options).dino_features_at_once({});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, StatusCode::RESOURCE_EXHAUSTED);
  }
  EXPECT_EQ(attempts, 1);
}

TEST(Calls, end_at_their_deadline) {
  Server server({[](grpc::ServerContext& context, const Request&, Response&) {
    while (!context.IsCancelled()) std::this_thread::yield();
    return grpc::Status::OK;
  }, {}, {}, {}});
  try {
    Client(server.address(), quick()).dino_features_at_once({}, milliseconds(50));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, StatusCode::DEADLINE_EXCEEDED);
  }
}

/// Sends the head of a tensor of so many bytes, then pieces of it.
grpc::Status sent(grpc::ServerWriter<Piece>& out, std::uint32_t size,
                  const std::vector<std::pair<std::uint64_t, std::string>>& pieces) {
  Piece head;
  *head.mutable_reply() = floats_of("");
  head.mutable_reply()->mutable_features()->set_shape(2, size);
  out.Write(head);
  for (const auto& [offset, data] : pieces) {
    Piece piece;
    piece.mutable_chunk()->set_offset(offset);
    piece.mutable_chunk()->set_data(data);
    out.Write(piece);
  }
  return grpc::Status::OK;
}

Response joined(std::function<grpc::Status(grpc::ServerWriter<Piece>&)> chunked) {
  Server server({{}, std::move(chunked), {}, {}});
  return Client(server.address(), quick()).dino_features({});
}

TEST(Pieces, are_joined_to_one_tensor) {
  EXPECT_EQ(joined([](auto& out) { return sent(out, 5, {{0, "abc"}, {3, "de"}}); }).features().data(), "abcde");
}

TEST(Pieces, may_be_one_message) {
  EXPECT_EQ(joined([](auto& out) {
              Piece whole;
              *whole.mutable_reply() = floats_of("de");
              out.Write(whole);
              return grpc::Status::OK;
            }).features().data(),
            "de");
}

TEST(Pieces, that_are_missing_are_an_error) {
  const std::vector<std::vector<std::pair<std::uint64_t, std::string>>> damages = {
      {}, {{0, "ab"}}, {{0, "a"}, {3, "de"}}, {{0, "abcdef"}}};
  for (const auto& pieces : damages) {
    EXPECT_THROW(joined([&](auto& out) { return sent(out, 5, pieces); }), Error);
  }
}

TEST(Pieces, that_break_off_are_asked_for_again) {
  int attempts = 0;
  const Response reply = joined([&](auto& out) {
    if (++attempts > 1) return sent(out, 2, {{0, "a"}, {1, "b"}});
    sent(out, 2, {{0, "z"}});
    return REFUSED;
  });
  EXPECT_EQ(reply.features().data(), "ab");
  EXPECT_EQ(attempts, 2);
}

TEST(Pieces, of_automatic_masks_are_listed) {
  for (const bool is_whole : {true, false}) {
    Server server({{}, {}, {}, [&](auto& out) {
      v1::GenerateMasksStreamResponse message;
      for (const int area : {3, 4}) {
        message.mutable_mask()->set_area(area);
        out.Write(message);
      }
      message.mutable_summary()->set_count(is_whole ? 2 : 3);
      message.mutable_summary()->set_model("m");
      out.Write(message);
      return grpc::Status::OK;
    }});
    const Client client(server.address(), quick());
    if (is_whole) {
      const v1::GenerateMasksResponse reply = client.generate_masks({});
      EXPECT_EQ(reply.masks_size(), 2);
      EXPECT_EQ(reply.masks(1).area(), 4u);
      EXPECT_EQ(reply.model(), "m");
    } else {
      EXPECT_THROW(client.generate_masks({}), Error);
    }
  }
}

TEST(Tls, needs_the_right_certificates) {
  const std::string folder = testing::TempDir() + "featsvc-tls-";
  const auto certified = [&](const std::string& name) {
    const std::string command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=" + name +
                                " -addext subjectAltName=IP:127.0.0.1 -keyout " + folder + name + ".key -out " + folder + name +
                                ".pem >" + folder + "log 2>&1";
    return std::system(command.c_str()) == 0;
  };
  if (!certified("server") || !certified("client")) GTEST_SKIP() << "no openssl on this machine";
  const auto content = [&](const std::string& name) {
    std::ifstream file(folder + name);
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  grpc::SslServerCredentialsOptions both(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  both.pem_key_cert_pairs.push_back({content("server.key"), content("server.pem")});
  both.pem_root_certs = content("client.pem");
  Server server({[](grpc::ServerContext&, const Request&, Response& reply) {
    reply = floats_of("\x07");
    return grpc::Status::OK;
  }, {}, {}, {}}, grpc::SslServerCredentials(both));
  Options options = quick();
  options.tls = Tls{folder + "server.pem", folder + "client.pem", folder + "client.key"};
  EXPECT_EQ(Client(server.address(), options).dino_features_at_once({}).features().data(), "\x07");
  options.tls = Tls{folder + "server.pem", "", ""};
  EXPECT_THROW(Client(server.address(), options).dino_features_at_once({}), Error);
  options.tls = Tls{folder + "client.pem", folder + "client.pem", folder + "client.key"};
  EXPECT_THROW(Client(server.address(), options).dino_features_at_once({}), Error);
  options.tls = Tls{folder + "nowhere.pem", "", ""};
  EXPECT_THROW(Client(server.address(), options), std::system_error);
}

TEST(Retries, wait_longer_each_time_and_never_less_than_the_server_asks) {
  RetryPolicy policy;
  EXPECT_EQ(policy.delay(1, milliseconds(0), 0), milliseconds(100));
  EXPECT_EQ(policy.delay(3, milliseconds(0), 0), milliseconds(400));
  EXPECT_EQ(policy.delay(3, milliseconds(0), .5), milliseconds(300));
  EXPECT_EQ(policy.delay(1 << 30, milliseconds(0), 0), milliseconds(10000));
  EXPECT_EQ(policy.delay(1, milliseconds(700), 0), milliseconds(700));
  EXPECT_EQ(policy.delay(1, milliseconds(700), .5), milliseconds(725));
}

}  // namespace
