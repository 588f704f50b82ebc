package featsvc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import featsvc.v1.DinoServiceExtractFeaturesRequest;
import featsvc.v1.DinoServiceExtractFeaturesResponse;
import featsvc.v1.DinoServiceExtractFeaturesStreamRequest;
import featsvc.v1.DinoServiceExtractFeaturesStreamResponse;
import featsvc.v1.ItemError;
import featsvc.v1.Timing;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class StreamTest {
    private Scripted server;
    private int streams;

    @BeforeEach
    void start() throws Exception {
        server = new Scripted();
    }

    @AfterEach
    void stop() {
        server.close();
    }

    /** Questions q0, q1 and so on, each with a picture of one byte, its number. */
    private static Iterable<Question<DinoServiceExtractFeaturesRequest>> numbered(int count) {
        return () -> IntStream.range(0, count).mapToObj(i -> question("q" + i, (byte) i)).iterator();
    }

    private static Question<DinoServiceExtractFeaturesRequest> question(String id, byte... picture) {
        return new Question<>(
                id, DinoServiceExtractFeaturesRequest.newBuilder().setImage(Pictures.bytes(picture)).build());
    }

    private static byte[] picture(DinoServiceExtractFeaturesStreamRequest asked) {
        return asked.getRequest().getImage().getContent().toByteArray();
    }

    private static void answer(
            StreamObserver<DinoServiceExtractFeaturesStreamResponse> to, DinoServiceExtractFeaturesStreamRequest asked) {
        to.onNext(DinoServiceExtractFeaturesStreamResponse.newBuilder()
                .setRequestId(asked.getRequestId()).setResponse(Scripted.features(picture(asked)))
                .setTiming(Timing.newBuilder().setBatchSize(2)).build());
    }

    private static void refuse(
            StreamObserver<DinoServiceExtractFeaturesStreamResponse> to, DinoServiceExtractFeaturesStreamRequest asked,
            Status.Code code, int retryAfterMs) {
        to.onNext(DinoServiceExtractFeaturesStreamResponse.newBuilder()
                .setRequestId(asked.getRequestId())
                .setError(ItemError.newBuilder().setCode(code.name()).setMessage("no").setRetryAfterMs(retryAfterMs))
                .build());
    }

    /** The answers by name: the first byte of each, or the code of its error. */
    private static Map<String, String> collected(FeatsvcClient client, int count, int window) {
        Map<String, String> found = new TreeMap<>();
        for (Answer<DinoServiceExtractFeaturesResponse> each : client.streamDinoFeatures(numbered(count), window)) {
            String said = each.error() != null
                    ? each.error().code().name() : Byte.toString(each.get().getFeatures().getData().byteAt(0));
            assertEquals(null, found.put(each.id(), said));
            assertEquals(each.error() == null, each.timing() != null && each.timing().getBatchSize() == 2);
        }
        return found;
    }

    private static Map<String, String> expected(int count) {
        Map<String, String> all = new TreeMap<>();
        IntStream.range(0, count).forEach(i -> all.put("q" + i, Integer.toString(i)));
        return all;
    }

    @Test
    void everyQuestionGetsItsOwnAnswerInAnyOrder() {
        server.stream = () -> {
            var held = new ArrayDeque<DinoServiceExtractFeaturesStreamRequest>();
            return (to, asked) -> {
                held.push(asked);
                // The later one first.
                while (held.size() % 2 == 0 && !held.isEmpty() || held.size() > 2) {
                    answer(to, held.pop());
                    if (!held.isEmpty()) {
                        answer(to, held.pop());
                    }
                }
            };
        };
        assertEquals(expected(10), collected(server.client(), 10, 4));
    }

    @Test
    void noMoreQuestionsAreUnderWayThanTheWindowHolds() {
        int window = 3;
        server.stream = () -> {
            var waiting = new ArrayDeque<DinoServiceExtractFeaturesStreamRequest>();
            return (to, asked) -> {
                waiting.add(asked);
                if (waiting.size() > window) {
                    throw Scripted.refusal(Status.Code.INTERNAL);
                }
                if (waiting.size() == window) {
                    answer(to, waiting.remove());
                }
            };
        };
        // The server keeps the last two for ever.
        try (var answers = server.client().streamDinoFeatures(numbered(20), window)) {
            for (int i = 0; i < 20 - window + 1; i++) {
                assertEquals("q" + i, answers.next().id());
            }
        }
    }

    @Test
    void largeQuestionsAndAnswersDoNotWaitForEachOther() {
        byte[] large = new byte[1 << 20];
        server.stream = () -> {
            var held = new ArrayDeque<DinoServiceExtractFeaturesStreamRequest>();
            return (to, asked) -> {
                held.add(asked);
                while (held.size() == 2 || held.size() == 1 && asked.getRequestId().equals("39")) {
                    answer(to, held.remove());
                    if (!held.isEmpty()) {
                        answer(to, held.remove());
                    }
                }
            };
        };
        Iterable<Question<DinoServiceExtractFeaturesRequest>> questions =
                () -> IntStream.range(0, 40).mapToObj(i -> question("", large)).iterator();
        int seen = 0;
        for (var each : server.client().withDeadline(Duration.ofMinutes(1)).streamDinoFeatures(questions, 8)) {
            seen += each.get().getFeatures().getData().size() >> 20;
        }
        assertEquals(40, seen);
    }

    @Test
    void aBadQuestionFailsAlone() {
        server.stream = () -> (to, asked) -> {
            if (picture(asked)[0] == 1) {
                refuse(to, asked, Status.Code.INVALID_ARGUMENT, 0);
            } else {
                answer(to, asked);
            }
        };
        assertEquals(Map.of("q0", "0", "q1", "INVALID_ARGUMENT", "q2", "2"), collected(server.client(), 3, 2));
    }

    @Test
    void aQuestionThatTheServerHasNoPlaceForIsAskedAgain() {
        Map<String, Integer> refused = new HashMap<>();
        server.stream = () -> (to, asked) -> {
            if (refused.merge(asked.getRequestId(), 1, Integer::sum) <= 7) {
                refuse(to, asked, Status.Code.RESOURCE_EXHAUSTED, 2);
            } else {
                answer(to, asked);
            }
        };
        assertEquals(expected(5), collected(server.client(), 5, 2));
    }

    @Test
    void anAnswerOverTheLimitIsNotAskedForAgain() {
        var attempts = new AtomicInteger();
        server.stream = () -> (to, asked) -> {
            attempts.incrementAndGet();
            refuse(to, asked, Status.Code.RESOURCE_EXHAUSTED, 0);
        };
        assertEquals(Map.of("q0", "RESOURCE_EXHAUSTED"), collected(server.client(), 1, 1));
        assertEquals(1, attempts.get());
    }

    @Test
    void aQuestionThatFailsForAReasonIsNotAskedAgain() {
        var attempts = new AtomicInteger();
        server.stream = () -> (to, asked) -> {
            attempts.incrementAndGet();
            to.onNext(DinoServiceExtractFeaturesStreamResponse.newBuilder()
                    .setRequestId(asked.getRequestId())
                    .setError(ItemError.newBuilder().setCode("UNAVAILABLE").setReason("killed-workers"))
                    .build());
        };
        assertEquals(Map.of("q0", "UNAVAILABLE"), collected(server.client(), 1, 1));
        assertEquals(1, attempts.get());
    }

    /** Questions q0, q1 and so on, each to be had only when there is a permit for it. */
    private static Iterable<Question<DinoServiceExtractFeaturesRequest>> slow(int count, Semaphore permits) {
        return () -> IntStream.range(0, count).mapToObj(i -> {
            permits.acquireUninterruptibly();
            return question("q" + i, (byte) i);
        }).iterator();
    }

    @Test
    void anAnswerDoesNotWaitForTheNextQuestion() {
        server.stream = () -> StreamTest::answer;
        var permits = new Semaphore(1);
        int seen = 0;
        for (var each : server.client().streamDinoFeatures(slow(3, permits), 4)) {
            assertEquals("q" + seen++, each.id());
            permits.release();
        }
        assertEquals(3, seen);
    }

    @Test
    void closingDoesNotWaitForTheNextQuestion() {
        server.stream = () -> StreamTest::answer;
        var permits = new Semaphore(1);
        try (var answers = server.client().streamDinoFeatures(slow(2, permits), 4)) {
            answers.next();
        }
        permits.release();
    }

    @Test
    void theDeadlineEndsAStreamWhoseSourceTakesItsTime() {
        server.stream = () -> StreamTest::answer;
        var permits = new Semaphore(1);
        FeatsvcClient client = server.client().withDeadline(Duration.ofSeconds(1));
        var answers = client.streamDinoFeatures(slow(2, permits), 4);
        assertEquals("q0", answers.next().id());
        assertEquals(
                Status.Code.DEADLINE_EXCEEDED, assertThrows(FeatsvcException.class, () -> answers.next()).code());
        permits.release();
    }

    @Test
    void whatTheSourceThrowsComesOutOfTheLoop() {
        server.stream = () -> StreamTest::answer;
        Iterable<Question<DinoServiceExtractFeaturesRequest>> damaged = () -> {
            throw new IllegalStateException("damaged");
        };
        var answers = server.client().streamDinoFeatures(damaged, 4);
        assertEquals("damaged", assertThrows(IllegalStateException.class, () -> answers.next()).getMessage());
    }

    @Test
    void aStreamThatBreaksGoesOnWithWhatWaits() {
        server.stream = () -> {
            streams++;
            int[] count = {0};
            return (to, asked) -> {
                if (++count[0] > 3) {
                    throw Scripted.refusal(Status.Code.UNAVAILABLE);
                }
                answer(to, asked);
            };
        };
        assertEquals(expected(20), collected(server.client(), 20, 4));
        assertTrue(streams > 1);
    }

    @Test
    void aServerThatHasAnsweredIsWaitedForUntilTheDeadline() {
        server.stream = () -> {
            int number = ++streams;
            int[] count = {0};
            return (to, asked) -> {
                if (++count[0] > 1 || number > 1 && number < 3 * Scripted.QUICK.attempts()) {
                    throw Scripted.refusal(Status.Code.UNAVAILABLE);
                }
                answer(to, asked);
            };
        };
        assertEquals(expected(2), collected(server.client().withDeadline(Duration.ofMinutes(1)), 2, 1));
        assertEquals(3 * Scripted.QUICK.attempts(), streams);
    }

    @Test
    void aStreamThatNeverAnswersEndsWithItsError() {
        server.stream = () -> {
            streams++;
            return (to, asked) -> {
                throw Scripted.refusal(Status.Code.UNAVAILABLE);
            };
        };
        FeatsvcClient client = server.client();
        assertEquals(
                Status.Code.UNAVAILABLE, assertThrows(FeatsvcException.class, () -> collected(client, 3, 2)).code());
        assertEquals(Scripted.QUICK.attempts(), streams);
    }

    @Test
    void theDeadlineEndsTheStream() {
        server.stream = () -> (to, asked) -> {};
        // Often, because two things happen at the deadline, in any order.
        FeatsvcClient client = server.client().withDeadline(Duration.ofMillis(20));
        for (int i = 0; i < 20; i++) {
            assertEquals(
                    Status.Code.DEADLINE_EXCEEDED,
                    assertThrows(FeatsvcException.class, () -> collected(client, 3, 2)).code());
        }
    }

    @Test
    void closingEndsTheStream() throws InterruptedException {
        server.stream = () -> StreamTest::answer;
        try (var answers = server.client().streamDinoFeatures(numbered(1000), 4)) {
            answers.next();
        }
        server.left.await();
    }
}
