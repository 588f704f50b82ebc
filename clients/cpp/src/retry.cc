#include "featsvc/retry.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace featsvc {

using std::chrono::microseconds;

microseconds RetryPolicy::delay(int failed, std::chrono::milliseconds after, double chance) const {
  const auto in_us = [](auto time) { return static_cast<double>(microseconds(time).count()); };
  const double grown = in_us(first_delay) * std::pow(factor, std::max(failed - 1, 0));
  const double backoff = std::min(grown, in_us(max_delay));
  const double shortened = backoff * (1 - jitter * chance);
  if (after.count() == 0) return microseconds(std::llround(shortened));
  return microseconds(std::llround(std::max(shortened, in_us(after) + backoff * jitter * chance)));
}

std::optional<microseconds> RetryPolicy::pause(const Deadline& deadline, int failed, const Error& error) const {
  const bool is_retried = error.code == grpc::StatusCode::UNAVAILABLE || error.code == grpc::StatusCode::RESOURCE_EXHAUSTED;
  if (!is_retried || error.is_final || failed >= attempts) return std::nullopt;
  thread_local std::minstd_rand random{std::random_device{}()};
  const microseconds pause = delay(failed, error.retry_after, std::uniform_real_distribution<>(0, 1)(random));
  if (deadline && std::chrono::system_clock::now() + pause >= *deadline) return std::nullopt;
  return pause;
}

}  // namespace featsvc
