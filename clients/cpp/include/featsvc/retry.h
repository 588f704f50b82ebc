/// @file
/// When failed calls are tried again.
#pragma once

#include <chrono>
#include <optional>

#include "featsvc/error.h"

namespace featsvc {

/// Time at which a call ends; none: never.
using Deadline = std::optional<std::chrono::system_clock::time_point>;

/// When a failed call is tried again: on UNAVAILABLE and RESOURCE_EXHAUSTED, unless the server says that it will not help.
/// Every call is a pure function of its request, so all may be tried again.
struct RetryPolicy {
  /// How often a call is sent at most, the first time included.
  int attempts = 5;
  /// Pause after the first failure; each further one is `factor` times as long, up to `max_delay`.
  std::chrono::milliseconds first_delay{100};
  std::chrono::milliseconds max_delay{10000};
  double factor = 2;
  /// Part of each pause that is random, so that clients refused together do not come back together.
  double jitter = 0.5;

  /// Pause after so many failures, never less than the server asks for; `chance` is in [0, 1).
  std::chrono::microseconds delay(int failed, std::chrono::milliseconds after, double chance) const;

  /// Pause after the last of so many failures; none where no other try is to be made.
  std::optional<std::chrono::microseconds> pause(const Deadline& deadline, int failed, const Error& error) const;
};

}  // namespace featsvc
