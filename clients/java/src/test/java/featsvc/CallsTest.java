package featsvc;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.rpc.BadRequest;
import com.google.rpc.Code;
import featsvc.v1.DinoServiceExtractFeaturesRequest;
import featsvc.v1.DinoServiceGrpc;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class CallsTest {
    private static final DinoServiceExtractFeaturesRequest REQUEST = DinoServiceExtractFeaturesRequest.getDefaultInstance();

    private Scripted server;
    private int attempts;

    @BeforeEach
    void start() throws Exception {
        server = new Scripted();
    }

    @AfterEach
    void stop() {
        server.close();
    }

    /** Makes one call of a server that fails so many times. */
    private void asked(FeatsvcClient client, int failures, Supplier<StatusRuntimeException> failure) {
        server.extract = request -> {
            if (++attempts <= failures) {
                throw failure.get();
            }
            return Scripted.features((byte) 7);
        };
        client.call(DinoServiceGrpc.getExtractFeaturesMethod(), REQUEST);
    }

    private FeatsvcException failed(FeatsvcClient client, Supplier<StatusRuntimeException> failure) {
        return assertThrows(FeatsvcException.class, () -> asked(client, 99, failure));
    }

    @Test
    void aCallIsTriedAgainWhereTheServerIsUnavailable() {
        asked(server.client(), 2, () -> Scripted.refusal(Status.Code.UNAVAILABLE));
        assertEquals(3, attempts);
    }

    @Test
    void aFullServerIsAskedAgainNotBeforeItSays() {
        long begin = System.nanoTime();
        asked(server.client(), 1, () -> Scripted.refusal(Status.Code.RESOURCE_EXHAUSTED, "retry-after-ms", "150"));
        assertEquals(2, attempts);
        assertTrue(System.nanoTime() - begin >= 150_000_000);
    }

    @Test
    void noOtherTryIsMadeWhereItWouldNotHelp() {
        assertTrue(!failed(server.client(), () -> Scripted.refusal(Status.Code.INVALID_ARGUMENT)).isFinal());
        assertTrue(failed(server.client(), () -> Scripted.refusal(
                Status.Code.RESOURCE_EXHAUSTED, "featsvc-reason", "reply-too-large")).isFinal());
        assertTrue(failed(server.client(), () -> Scripted.refusal(
                Status.Code.UNAVAILABLE, "featsvc-reason", "killed-workers")).isFinal());
        assertEquals(3, attempts);
    }

    @Test
    void attemptsAreLimited() {
        assertEquals(Status.Code.UNAVAILABLE, failed(
                server.client(), () -> Scripted.refusal(Status.Code.UNAVAILABLE)).code());
        assertEquals(Scripted.QUICK.attempts(), attempts);
    }

    @Test
    void aPauseLongerThanTheDeadlineIsNotMade() {
        long begin = System.nanoTime();
        FeatsvcException error = failed(
                server.client().withDeadline(Duration.ofSeconds(20)),
                () -> Scripted.refusal(Status.Code.RESOURCE_EXHAUSTED, "retry-after-ms", "60000"));
        assertEquals(Duration.ofMinutes(1), error.retryAfter());
        assertTrue(System.nanoTime() - begin < 10_000_000_000L);
    }

    @Test
    void anExceptionNamesTheBadFields() {
        BadRequest bad = BadRequest.newBuilder()
                .addFieldViolations(BadRequest.FieldViolation.newBuilder().setField("image").setDescription("is missing"))
                .addFieldViolations(BadRequest.FieldViolation.newBuilder().setField("params").setDescription("is wrong"))
                .build();
        Metadata trailers = new Metadata();
        trailers.put(Metadata.Key.of("x-request-id", Metadata.ASCII_STRING_MARSHALLER), "abc");
        FeatsvcException error = failed(server.client(), () -> StatusProto.toStatusRuntimeException(
                com.google.rpc.Status.newBuilder()
                        .setCode(Code.INVALID_ARGUMENT_VALUE).setMessage("two bad fields").addDetails(Any.pack(bad)).build(),
                trailers));
        assertEquals(Status.Code.INVALID_ARGUMENT, error.code());
        assertEquals(List.of(
                new FeatsvcException.Violation("image", "is missing"),
                new FeatsvcException.Violation("params", "is wrong")), error.violations());
        assertEquals("abc", error.requestId());
    }

    @Test
    void theKeyAndThePictureArriveAsGiven(@TempDir Path folder) throws Exception {
        var key = new AtomicReference<String>();
        var content = new AtomicReference<byte[]>();
        server.extract = request -> {
            key.set(Scripted.AUTHORIZATION.get() + " " + Scripted.PRIORITY.get());
            content.set(request.getImage().getContent().toByteArray());
            return Scripted.features();
        };
        Path file = Files.writeString(folder.resolve("picture"), "a file");
        server.client(ConnectOptions.DEFAULT.withApiKey("mine")).withPriority(-3).call(
                DinoServiceGrpc.getExtractFeaturesMethod(), REQUEST.toBuilder().setImage(Pictures.file(file)).build());
        assertEquals("Bearer mine -3", key.get());
        assertArrayEquals("a file".getBytes(), content.get());
        assertEquals(Pictures.file(file), Pictures.bytes("a file".getBytes()));
    }

    @Test
    void aMessageOverTheLimitOfTheClientIsNotAskedForAgain() {
        FeatsvcClient client = server.client(ConnectOptions.DEFAULT.withMaxMessageBytes(1024).withRetry(Scripted.QUICK));
        server.extract = request -> {
            attempts++;
            return Scripted.features(new byte[4096]);
        };
        FeatsvcException received = assertThrows(
                FeatsvcException.class, () -> client.call(DinoServiceGrpc.getExtractFeaturesMethod(), REQUEST));
        assertEquals(Status.Code.RESOURCE_EXHAUSTED, received.code());
        assertTrue(received.isFinal());
        assertEquals(1, attempts);
        var large = REQUEST.toBuilder().setImage(Pictures.bytes(new byte[4096])).build();
        FeatsvcException sent = assertThrows(
                FeatsvcException.class, () -> client.call(DinoServiceGrpc.getExtractFeaturesMethod(), large));
        assertEquals(Status.Code.RESOURCE_EXHAUSTED, sent.code());
        assertTrue(sent.isFinal());
        assertEquals(1, attempts);
    }

    @Test
    void aReplyOverTheDefaultLimitOfGrpcArrives() {
        server.extract = request -> Scripted.features(new byte[5 << 20]);
        var reply = server.client().call(DinoServiceGrpc.getExtractFeaturesMethod(), REQUEST);
        assertEquals(5 << 20, reply.getFeatures().getData().size());
    }
}
