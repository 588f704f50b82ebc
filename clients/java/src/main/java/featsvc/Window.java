package featsvc;

import featsvc.v1.ItemError;
import featsvc.v1.Timing;
import io.grpc.Deadline;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.BiFunction;
import java.util.function.Function;

/** Many questions over one call, so many of them under way at most. */
final class Window<Q, R, M, A> implements Answers<R> {
    private static final long FOREVER = TimeUnit.HOURS.toNanos(1);

    private final Connection connection;
    private final Method<Q, R, M, A> method;
    private final Source<Q> source;
    /** What comes from the server, and word that the source has given something. */
    private final BlockingQueue<Wire.Event<A>> events = new LinkedBlockingQueue<>();
    private final int size;
    private final Deadline deadline;
    /** The questions without an answer so far, by the names that the server knows them by, in the order they were asked. */
    private final Map<String, Waiting<Q>> waiting = new LinkedHashMap<>();

    private Wire<M, A> wire;
    private long asked;
    /** Streams that broke off without an answer in between. */
    private int breaks;
    private boolean answered;
    private boolean done;
    private Answer<R> next;

    /** A method with streams both ways, and what its messages hold. */
    record Method<Q, R, M, A>(MethodDescriptor<M, A> descriptor, BiFunction<String, Q, M> wrap, Function<A, Reply<R>> read) {}

    /** What the messages of all such methods have in common; without an error it is a response. */
    record Reply<R>(String id, R response, ItemError error, Timing timing) {}

    private static final class Waiting<Q> {
        private final Question<Q> question;
        /** Counts the refusals that did not say when to come back. */
        private int failed;
        private boolean sent;
        private long due = System.nanoTime();

        Waiting(Question<Q> question) {
            this.question = question;
        }
    }

    Window(Connection connection, Method<Q, R, M, A> method, Iterable<Question<Q>> questions, int size) {
        this.connection = connection;
        this.method = method;
        this.source = new Source<>(questions, () -> events.add(new Wire.Event<>(null, null, null)));
        this.size = Math.max(size, 1);
        this.deadline = connection.deadline();
    }

    @Override
    public boolean hasNext() {
        while (next == null && !done) {
            try {
                next = received();
            } catch (RuntimeException e) {
                close();
                throw e;
            }
        }
        return next != null;
    }

    @Override
    public Answer<R> next() {
        if (!hasNext()) {
            throw new NoSuchElementException();
        }
        Answer<R> answer = next;
        next = null;
        return answer;
    }

    @Override
    public void close() {
        done = true;
        source.close();
        if (wire != null) {
            wire.close();
            wire = null;
        }
    }

    /** One step: what is due is sent, and what comes is taken; null where it is no answer for the caller. */
    private Answer<R> received() {
        Question<Q> drawn = source.taken();
        if (drawn != null) {
            waiting.put(Long.toString(asked++), new Waiting<>(drawn));
        }
        boolean more = waiting.size() >= size || source.draw();
        if (!more && waiting.isEmpty()) {
            finish();
            return null;
        }
        if (wire == null && !waiting.isEmpty()) {
            wire = new Wire<>(
                    connection.channel(), method.descriptor(), Connection.until(deadline), size + 1, events);
        }
        Wire.Event<A> event = wire == null ? idle() : wire.next(send());
        if (event == null || event.from() == null || event.from() != wire) {
            return null;
        }
        if (event.message() == null) {
            wire = null;
            // While nothing waits, a stream may end as it likes: the next question opens another.
            if (!waiting.isEmpty()) {
                broken(event.error());
            }
            return null;
        }
        return taken(method.read().apply(event.message()));
    }

    /** Waits for the source alone; throws where the deadline comes first. */
    private Wire.Event<A> idle() {
        long left = deadline == null ? FOREVER : deadline.timeRemaining(TimeUnit.NANOSECONDS);
        if (left <= 0) {
            throw FeatsvcException.of(
                    Status.DEADLINE_EXCEEDED.withDescription("the deadline has come before the next question"), null);
        }
        try {
            return events.poll(left, TimeUnit.NANOSECONDS);
        } catch (InterruptedException e) {
            throw Connection.interrupted(e);
        }
    }

    /** Lets the server end its side, which it does at once when it has answered all. */
    private void finish() {
        if (wire != null) {
            wire.halfClose();
            wire.next(TimeUnit.SECONDS.toNanos(1));
        }
        close();
    }

    /** Sends what is due, and gives the time until something else is. */
    private long send() {
        long pause = FOREVER;
        for (var entry : waiting.entrySet()) {
            Waiting<Q> each = entry.getValue();
            long left = each.due - System.nanoTime();
            if (each.sent || left > 0) {
                pause = each.sent ? pause : Math.min(pause, left);
                continue;
            }
            wire.send(method.wrap().apply(entry.getKey(), each.question.request()));
            each.sent = true;
        }
        return pause;
    }

    /** What an answer means to the caller; null where it means nothing yet. */
    private Answer<R> taken(Reply<R> reply) {
        Waiting<Q> about = waiting.get(reply.id());
        if (about == null) {
            return null;
        }
        breaks = 0;
        answered = true;
        FeatsvcException error = reply.error() == null ? null : FeatsvcException.of(reply.error());
        if (error != null && connection.options().retry().attempts() > 1) {
            // Refusals that say when to come back are limited by the deadline alone.
            about.failed += error.retryAfter().isZero() ? 1 : 0;
            Duration pause = connection.options().retry().pause(deadline, about.failed, error).orElse(null);
            if (pause != null) {
                about.sent = false;
                about.due = System.nanoTime() + pause.toNanos();
                return null;
            }
        }
        waiting.remove(reply.id());
        return new Answer<>(about.question.id(), error == null ? reply.response() : null, error, reply.timing());
    }

    /**
     * Waits before a new stream, over which all that wait go again; throws where that is of no use. A server that has answered
     * before may be restarting: where there is a deadline, that alone limits the wait for it.
     */
    private void broken(FeatsvcException error) {
        FeatsvcException said = error != null ? error : FeatsvcException.of(
                Status.UNAVAILABLE.withDescription("the server ended the stream before it had answered all"), null);
        breaks++;
        RetryPolicy retry = connection.options().retry();
        if (deadline != null && answered && retry.attempts() > 1) {
            retry = retry.withAttempts(Integer.MAX_VALUE);
        }
        Duration pause = retry.pause(deadline, breaks, said).orElse(null);
        if (pause == null) {
            throw said;
        }
        connection.rest(pause);
        for (Waiting<Q> each : waiting.values()) {
            each.sent = false;
            each.due = System.nanoTime();
        }
    }
}
