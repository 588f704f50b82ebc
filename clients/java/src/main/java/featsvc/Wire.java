package featsvc;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * One call with messages in both directions. Sending never waits, and messages are received meanwhile: where both sides wait
 * to send, neither receives.
 */
final class Wire<Q, R> extends ClientCall.Listener<R> implements AutoCloseable {
    private final ClientCall<Q, R> call;
    private final BlockingQueue<Event<R>> events;

    /**
     * A message, or (without one) the end of the call, whose error is null where it ended well. From none it says that something
     * else has come that its owner waits for.
     */
    record Event<R>(Wire<?, R> from, R message, FeatsvcException error) {}

    /** Begins a call that receives so many messages ahead of those that are taken. */
    Wire(Channel channel, MethodDescriptor<Q, R> method, CallOptions options, int ahead) {
        this(channel, method, options, ahead, new LinkedBlockingQueue<>());
    }

    /** The same, into a queue that its owner waits at for other things too. */
    Wire(
            Channel channel, MethodDescriptor<Q, R> method, CallOptions options, int ahead,
            BlockingQueue<Event<R>> events) {
        this.events = events;
        call = channel.newCall(method, options);
        call.start(this, new Metadata());
        call.request(ahead);
    }

    @Override
    public void onMessage(R message) {
        events.add(new Event<>(this, message, null));
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
        events.add(new Event<>(this, null, status.isOk() ? null : FeatsvcException.of(status, trailers)));
    }

    void send(Q message) {
        call.sendMessage(message);
    }

    void halfClose() {
        call.halfClose();
    }

    /** What comes next; null where nothing comes in that time. */
    Event<R> next(long nanoseconds) {
        try {
            Event<R> event = events.poll(nanoseconds, TimeUnit.NANOSECONDS);
            if (event != null && event.from() == this && event.message() != null) {
                call.request(1);
            }
            return event;
        } catch (InterruptedException e) {
            close();
            throw Connection.interrupted(e);
        }
    }

    /** The next message, for as long as the call's deadline allows; null at a good end. */
    R next() {
        Event<R> event = next(Long.MAX_VALUE);
        if (event.error() != null) {
            throw event.error();
        }
        return event.message();
    }

    /** Ends the call, if it has not ended. */
    @Override
    public void close() {
        call.cancel("the caller has left", null);
    }
}
