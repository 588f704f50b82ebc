package featsvc;

import io.grpc.Deadline;
import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/**
 * When a failed call is tried again: on UNAVAILABLE and RESOURCE_EXHAUSTED, unless the server says that it will not help.
 * Every call is a pure function of its request, so all may be tried again.
 *
 * @param attempts how often a call is sent at most, the first time included
 * @param firstDelay the pause after the first failure
 * @param maxDelay the longest pause, but where the server asks for a longer one
 * @param factor how much longer each further pause is
 * @param jitter the part of each pause that is random, so that clients refused together do not come back together
 */
public record RetryPolicy(int attempts, Duration firstDelay, Duration maxDelay, double factor, double jitter) {
    /** The policy of a client that is given none. */
    public static final RetryPolicy DEFAULT = new RetryPolicy(5, Duration.ofMillis(100), Duration.ofSeconds(10), 2, 0.5);

    /** The policy that never tries again. */
    public static final RetryPolicy NEVER = new RetryPolicy(1, Duration.ZERO, Duration.ZERO, 1, 0);

    /** The pause after so many failures, never less than the server asks for; chance is in [0, 1). */
    Duration delay(int failed, Duration after, double chance) {
        double backoff = Math.min(firstDelay.toNanos() * Math.pow(factor, failed - 1), maxDelay.toNanos());
        double shortened = backoff * (1 - jitter * chance);
        if (after.isZero()) {
            return Duration.ofNanos((long) shortened);
        }
        return Duration.ofNanos((long) Math.max(shortened, after.toNanos() + backoff * jitter * chance));
    }

    /** How long to wait after the last of so many failures; empty where no other try is to be made. */
    Optional<Duration> pause(Deadline deadline, int failed, FeatsvcException error) {
        boolean retried = error.code() == Status.Code.UNAVAILABLE || error.code() == Status.Code.RESOURCE_EXHAUSTED;
        if (!retried || error.isFinal() || failed >= attempts) {
            return Optional.empty();
        }
        Duration delay = delay(Math.max(failed, 1), error.retryAfter(), ThreadLocalRandom.current().nextDouble());
        boolean late = deadline != null && deadline.timeRemaining(TimeUnit.NANOSECONDS) <= delay.toNanos();
        return late ? Optional.empty() : Optional.of(delay);
    }

    RetryPolicy withAttempts(int count) {
        return new RetryPolicy(count, firstDelay, maxDelay, factor, jitter);
    }
}
