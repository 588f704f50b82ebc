package featsvc;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/** A channel, and how calls over it are made. */
record Connection(ManagedChannel managed, Channel channel, ConnectOptions options) {
    // Trailing metadata lists every bad field; gRPC's own limit is 8 KiB.
    private static final int MAX_METADATA_BYTES = 1 << 20;

    static Connection to(String target, ConnectOptions options) {
        ManagedChannel managed = Grpc.newChannelBuilder(target, credentials(options.tls()))
                .maxInboundMessageSize(options.maxMessageBytes())
                .maxInboundMetadataSize(MAX_METADATA_BYTES)
                .build();
        Channel channel = ClientInterceptors.intercept(
                managed, attached("authorization", "Bearer " + options.apiKey()), new Limit(options.maxMessageBytes()));
        return new Connection(managed, channel, options);
    }

    Connection withPriority(int priority) {
        ClientInterceptor said = attached("x-featsvc-priority", Integer.toString(priority));
        return new Connection(managed, ClientInterceptors.intercept(channel, said), options);
    }

    private static ClientInterceptor attached(String name, String value) {
        Metadata headers = new Metadata();
        headers.put(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER), value);
        return MetadataUtils.newAttachHeadersInterceptor(headers);
    }

    /** The limit of messages that are sent; that of messages received is the channel's. */
    private record Limit(int bytes) implements ClientInterceptor {
        @Override
        public <Q, R> ClientCall<Q, R> interceptCall(MethodDescriptor<Q, R> method, CallOptions call, Channel next) {
            return next.newCall(method, call.withMaxOutboundMessageSize(bytes));
        }
    }

    private static ChannelCredentials credentials(ConnectOptions.Tls tls) {
        if (tls == null) {
            return InsecureChannelCredentials.create();
        }
        try {
            TlsChannelCredentials.Builder files = TlsChannelCredentials.newBuilder();
            if (tls.authority() != null) {
                files.trustManager(tls.authority().toFile());
            }
            if (tls.certificate() != null) {
                files.keyManager(tls.certificate().toFile(), tls.privateKey().toFile());
            }
            return files.build();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** When a call that begins now must have ended; null: never. */
    Deadline deadline() {
        Deadline outer = Context.current().getDeadline();
        if (options.deadline() == null) {
            return outer;
        }
        Deadline own = Deadline.after(options.deadline().toNanos(), TimeUnit.NANOSECONDS);
        return outer == null ? own : own.minimum(outer);
    }

    static CallOptions until(Deadline deadline) {
        return CallOptions.DEFAULT.withDeadline(deadline);
    }

    /** Makes attempts until one succeeds or another is of no use, and throws the error of the last. */
    <R> R retried(Deadline deadline, Supplier<R> attempt) {
        for (int failed = 1; ; failed++) {
            FeatsvcException said;
            try {
                return attempt.get();
            } catch (StatusRuntimeException e) {
                said = FeatsvcException.of(e.getStatus(), e.getTrailers());
            } catch (FeatsvcException e) {
                said = e;
            }
            Duration pause = options.retry().pause(deadline, failed, said).orElse(null);
            if (pause == null) {
                throw said;
            }
            rest(pause);
        }
    }

    /** Waits before another attempt, which shall find the channel ready to connect. */
    void rest(Duration pause) {
        try {
            TimeUnit.NANOSECONDS.sleep(pause.toNanos());
        } catch (InterruptedException e) {
            throw interrupted(e);
        }
        // gRPC's own pause before it connects again would make attempts fail without trying.
        managed.resetConnectBackoff();
    }

    static FeatsvcException interrupted(InterruptedException e) {
        Thread.currentThread().interrupt();
        return FeatsvcException.of(Status.CANCELLED.withDescription("interrupted").withCause(e), null);
    }
}
