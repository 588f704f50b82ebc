package featsvc;

import com.google.protobuf.ByteString;
import featsvc.v1.*;
import io.grpc.BindableService;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerCredentials;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;

/** A server that answers the calls of DINO as a test says, and the clients of it. */
final class Scripted extends DinoServiceGrpc.DinoServiceImplBase implements AutoCloseable {
    static final RetryPolicy QUICK = new RetryPolicy(5, Duration.ofMillis(1), Duration.ofMillis(5), 2, 0);
    static final Context.Key<String> AUTHORIZATION = Context.key("authorization");
    static final Context.Key<String> PRIORITY = Context.key("priority");

    Function<DinoServiceExtractFeaturesRequest, DinoServiceExtractFeaturesResponse> extract;
    Consumer<StreamObserver<DinoServiceExtractFeaturesChunkedResponse>> chunked;
    /** Gives, for each new stream, what a question does. */
    Supplier<BiConsumer<StreamObserver<DinoServiceExtractFeaturesStreamResponse>, DinoServiceExtractFeaturesStreamRequest>> stream;

    volatile CountDownLatch left = new CountDownLatch(1);
    private final Server server;
    private final List<FeatsvcClient> clients = new ArrayList<>();

    Scripted() throws IOException {
        this(InsecureServerCredentials.create());
    }

    Scripted(ServerCredentials credentials) throws IOException {
        server = Grpc.newServerBuilderForPort(0, credentials)
                .maxInboundMessageSize(Integer.MAX_VALUE)
                .addService((BindableService) this)
                .intercept(new Key())
                .build()
                .start();
    }

    /** Lets the scripts see the key and the priority of a call. */
    private static final class Key implements ServerInterceptor {
        @Override
        public <Q, R> ServerCall.Listener<Q> interceptCall(
                ServerCall<Q, R> call, Metadata headers, ServerCallHandler<Q, R> next) {
            String key = headers.get(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER));
            String priority = headers.get(Metadata.Key.of("x-featsvc-priority", Metadata.ASCII_STRING_MARSHALLER));
            return Contexts.interceptCall(Context.current().withValues(AUTHORIZATION, key, PRIORITY, priority), call, headers, next);
        }
    }

    FeatsvcClient client() {
        return client(ConnectOptions.DEFAULT.withRetry(QUICK));
    }

    FeatsvcClient client(ConnectOptions options) {
        clients.add(FeatsvcClient.connect("127.0.0.1:" + server.getPort(), options));
        return clients.get(clients.size() - 1);
    }

    @Override
    public void close() {
        clients.forEach(FeatsvcClient::close);
        server.shutdownNow();
    }

    @Override
    public void extractFeatures(
            DinoServiceExtractFeaturesRequest request, StreamObserver<DinoServiceExtractFeaturesResponse> to) {
        try {
            to.onNext(extract.apply(request));
            to.onCompleted();
        } catch (StatusRuntimeException e) {
            to.onError(e);
        }
    }

    @Override
    public void extractFeaturesChunked(
            DinoServiceExtractFeaturesChunkedRequest request, StreamObserver<DinoServiceExtractFeaturesChunkedResponse> to) {
        try {
            chunked.accept(to);
            to.onCompleted();
        } catch (StatusRuntimeException e) {
            to.onError(e);
        }
    }

    @Override
    public StreamObserver<DinoServiceExtractFeaturesStreamRequest> extractFeaturesStream(
            StreamObserver<DinoServiceExtractFeaturesStreamResponse> to) {
        var act = stream.get();
        return new StreamObserver<>() {
            private boolean over;

            @Override
            public void onNext(DinoServiceExtractFeaturesStreamRequest asked) {
                if (over) {
                    return;
                }
                try {
                    act.accept(to, asked);
                } catch (StatusRuntimeException e) {
                    over = true;
                    to.onError(e);
                }
            }

            @Override
            public void onError(Throwable t) {
                left.countDown();
            }

            @Override
            public void onCompleted() {
                if (!over) {
                    to.onCompleted();
                }
            }
        };
    }

    /** An error with what the server says beside it. */
    static StatusRuntimeException refusal(Status.Code code, String... pairs) {
        Metadata trailers = new Metadata();
        for (int i = 0; i < pairs.length; i += 2) {
            trailers.put(Metadata.Key.of(pairs[i], Metadata.ASCII_STRING_MARSHALLER), pairs[i + 1]);
        }
        return code.toStatus().withDescription("refused").asRuntimeException(trailers);
    }

    /** A reply with features of the shape 1 x 1 x D. */
    static DinoServiceExtractFeaturesResponse features(byte... values) {
        return DinoServiceExtractFeaturesResponse.newBuilder()
                .setFeatures(tensor(DType.D_TYPE_UINT8, values, 1, 1, values.length))
                .build();
    }

    static Tensor tensor(DType dtype, byte[] data, int... shape) {
        Tensor.Builder tensor = Tensor.newBuilder().setDtype(dtype).setData(ByteString.copyFrom(data));
        for (int each : shape) {
            tensor.addShape(each);
        }
        return tensor.build();
    }

    /** Bytes, written as numbers up to 255. */
    static byte[] bytes(int... values) {
        byte[] bytes = new byte[values.length];
        for (int i = 0; i < values.length; i++) {
            bytes[i] = (byte) values[i];
        }
        return bytes;
    }
}
