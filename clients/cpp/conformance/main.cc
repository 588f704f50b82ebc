/// Asks the cases of a file and prints a line of JSON about each question: cpp-conformance ADDRESS CASES.json [API_KEY]

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <mutex>
#include <utility>

#include <google/protobuf/util/json_util.h>

#include "arrays.h"

namespace conformance {
namespace {

using featsvc::Client;
using featsvc::Error;
using google::protobuf::ListValue;
using google::protobuf::Value;

void must(const google::protobuf::util::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

const Value& field(const Struct& object, const std::string& name) {
  static const Value nothing;
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? nothing : found->second;
}

/// One call of the case file.
struct Case {
  std::vector<std::string> names;
  std::vector<Value> requests;
  /// Whether each question comes only when the answer to the one before it has been seen.
  bool is_paced = false;
};

/// Tells the source of a paced case of the answers.
class Seen {
 public:
  void tell(std::size_t more) {
    const std::lock_guard lock(mutex_);
    count_ += more;
    has_changed_.notify_all();
  }
  void wait(std::size_t count) {
    std::unique_lock lock(mutex_);
    has_changed_.wait(lock, [&] { return count_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable has_changed_;
  std::size_t count_ = 0;
};

/// The message that protobuf JSON stands for.
template <class Q>
Q parsed(const Value& json) {
  std::string text;
  must(google::protobuf::util::MessageToJsonString(json, &text));
  Q request;
  must(google::protobuf::util::JsonStringToMessage(text, &request));
  return request;
}

void print(const Struct& line) {
  std::string text;
  must(google::protobuf::util::MessageToJsonString(line, &text));
  std::cout << text << std::endl;
}

/// Key of the model that answered, or that the answer is about.
/// @{
template <class R>
auto model(const R& reply, int) -> decltype(std::string(reply.model())) { return reply.model(); }
template <class R>
auto model(const R& reply, int) -> decltype(reply.model().key()) { return reply.model().key(); }
template <class R>
std::string model(const R&, long) { return ""; }
/// @}

/// Answers without arrays.
template <class R>
auto read(const R& reply, int) -> decltype(arrays(reply)) { return arrays(reply); }
template <class R>
Struct read(const R&, long) { return {}; }

template <class R>
Struct answered(const std::string& name, const R& reply) {
  Struct line;
  *(*line.mutable_fields())["arrays"].mutable_struct_value() = read(reply, 0);
  set(line, "name", name);
  set(line, "code", "OK");
  set(line, "model", model(reply, 0));
  return line;
}

Struct refused(const std::string& name, const Error& error) {
  Struct line;
  set(line, "name", name);
  set(line, "code", featsvc::name_of(error.code));
  auto& fields = *(*line.mutable_fields())["fields"].mutable_list_value();
  for (const auto& each : error.violations) fields.add_values()->set_string_value(each.field);
  (*line.mutable_fields())["retry_after"].set_bool_value(error.retry_after.count() > 0);
  return line;
}

using Method = std::function<void(const Client&, const Case&)>;

template <class Q, class R>
Method unary(R (Client::*call)(const Q&, featsvc::Timeout) const) {
  return [call](const Client& client, const Case& asked) {
    const Q request = parsed<Q>(asked.requests.at(0));
    try {
      print(answered(asked.names[0], (client.*call)(request, {})));
    } catch (const Error& error) {
      print(refused(asked.names[0], error));
    }
  };
}

template <class R>
Struct line_about(const featsvc::Answer<R>& answer) {
  if (answer.error) return refused(answer.id, *answer.error);
  try {
    return answered(answer.id, answer.reply);
  } catch (const Error& error) {
    return refused(answer.id, error);
  }
}

template <class Q, class R>
Method stream(featsvc::Answers<R> (Client::*call)(featsvc::Questions<Q>, std::size_t, featsvc::Timeout) const) {
  return [call](const Client& client, const Case& asked) {
    std::vector<featsvc::Question<Q>> questions;
    for (std::size_t i = 0; i < asked.names.size(); ++i) {
      questions.push_back({asked.names[i], parsed<Q>(asked.requests[i])});
    }
    std::map<std::string, Struct> lines;
    Seen seen;
    featsvc::Questions<Q> source = [next = featsvc::questions(questions), &seen, given = 0u, &asked]() mutable {
      if (asked.is_paced) seen.wait(given++);
      return next();
    };
    try {
      auto answers = (client.*call)(std::move(source), 2, {});
      // Whatever happens, the source comes back before it is waited for.
      const std::shared_ptr<Seen> leaving(&seen, [&](Seen* each) { each->tell(asked.names.size()); });
      for (const auto& answer : answers) {
        lines[answer.id] = line_about(answer);
        seen.tell(1);
      }
    } catch (const Error& error) {
      for (const auto& name : asked.names) lines.emplace(name, refused(name, error));
    }
    for (const auto& name : asked.names) print(lines.at(name));
  };
}

/// The rpcs of the contract, each by the client's own way to ask it.
const std::map<std::string, Method>& methods() {
  static const std::map<std::string, Method> all = {
      {"ClipService/ExtractFeatures", unary(&Client::clip_features_at_once)},
      {"ClipService/ExtractFeaturesChunked", unary(&Client::clip_features)},
      {"ClipService/ExtractFeaturesStream", stream(&Client::stream_clip_features)},
      {"ClipService/EncodeText", unary(&Client::encode_text)},
      {"ClipService/ComputeSimilarity", unary(&Client::compute_similarity)},
      {"ClipService/EncodeImage", unary(&Client::encode_image)},
      {"ClipService/EmbedPyramid", unary(&Client::embed_pyramid_at_once)},
      {"ClipService/EmbedPyramidChunked", unary(&Client::embed_pyramid)},
      {"ClipService/EmbedPyramidStream", stream(&Client::stream_embed_pyramid)},
      {"DinoService/ExtractFeatures", unary(&Client::dino_features_at_once)},
      {"DinoService/ExtractFeaturesChunked", unary(&Client::dino_features)},
      {"DinoService/ExtractFeaturesStream", stream(&Client::stream_dino_features)},
      {"Sam2Service/GenerateMasks", unary(&Client::generate_masks_at_once)},
      {"Sam2Service/GenerateMasksStream", unary(&Client::generate_masks)},
      {"Sam2Service/PredictMasks", unary(&Client::predict_masks)},
      {"Sam2Service/PredictMasksStream", stream(&Client::stream_predict_masks)},
      {"Sam2Service/EmbedImage", unary(&Client::embed_image)},
      {"ObjectService/DescribeObjects", unary(&Client::describe_objects)},
      {"ObjectService/DescribeObjectsStream", stream(&Client::stream_describe_objects)},
      {"ObjectService/FindObjects", unary(&Client::find_objects)},
      {"ObjectService/FindObjectsStream", stream(&Client::stream_find_objects)},
      {"ModelService/GetCaller", unary(&Client::get_caller)},
      {"ModelService/ListModels", unary(&Client::list_models)},
      {"ModelService/LoadModel", unary(&Client::load_model)},
      {"ModelService/UnloadModel", unary(&Client::unload_model)},
      {"ModelService/GetStatus", unary(&Client::get_status)},
  };
  return all;
}

void ask(const std::string& address, const std::string& key, const Struct& json) {
  const std::string name = field(json, "name").string_value(), own_key = field(json, "api_key").string_value();
  Case asked;
  for (const Value& each : field(json, "questions").list_value().values()) {
    const std::string id = field(each.struct_value(), "id").string_value();
    asked.names.push_back(id.empty() ? name : name + "/" + id);
    asked.requests.push_back(field(each.struct_value(), "request"));
  }
  asked.is_paced = field(json, "paced").bool_value();
  featsvc::Options options;
  options.api_key = own_key.empty() ? key : own_key;
  options.timeout = std::chrono::milliseconds(std::max(1L, std::lround(field(json, "timeout_s").number_value() * 1000)));
  // Waits for a server that is restarted meanwhile.
  options.retry.attempts = 60;
  options.retry.max_delay = std::chrono::seconds(1);
  const std::string rpc = field(json, "rpc").string_value(), package = "featsvc.v1.";
  methods().at(rpc.rfind(package, 0) == 0 ? rpc.substr(package.size()) : rpc)(Client(address, options), asked);
}

}  // namespace
}  // namespace conformance

int main(int count, char** words) {
  if (count < 3) {
    std::cerr << "usage: cpp-conformance ADDRESS CASES.json [API_KEY]\n";
    return 2;
  }
  try {
    std::ifstream file(words[2], std::ios::binary);
    if (!file) throw std::runtime_error(std::string(words[2]) + ": cannot be read");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    google::protobuf::ListValue cases;
    conformance::must(google::protobuf::util::JsonStringToMessage(text, &cases));
    for (const auto& each : cases.values()) {
      conformance::ask(words[1], count > 3 ? words[3] : "smfeats", each.struct_value());
    }
  } catch (const std::exception& error) {
    std::cerr << "cpp-conformance: " << error.what() << "\n";
    return 1;
  }
}
