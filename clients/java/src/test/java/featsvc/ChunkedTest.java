package featsvc;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.protobuf.ByteString;
import featsvc.v1.DType;
import featsvc.v1.DinoServiceExtractFeaturesChunkedResponse;
import featsvc.v1.DinoServiceExtractFeaturesRequest;
import featsvc.v1.DinoServiceExtractFeaturesResponse;
import featsvc.v1.TensorChunk;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class ChunkedTest {
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

    private byte[] received() {
        return server.client().dinoFeatures(DinoServiceExtractFeaturesRequest.getDefaultInstance())
                .getFeatures().getData().toByteArray();
    }

    /** Sends the head of a tensor of so many bytes, then the pieces. */
    private static void sent(
            StreamObserver<DinoServiceExtractFeaturesChunkedResponse> to, int size, List<TensorChunk> pieces) {
        to.onNext(head(DinoServiceExtractFeaturesResponse.newBuilder()
                .setFeatures(Scripted.tensor(DType.D_TYPE_UINT8, new byte[0], 1, 1, size)).build()));
        for (TensorChunk each : pieces) {
            to.onNext(DinoServiceExtractFeaturesChunkedResponse.newBuilder().setChunk(each).build());
        }
    }

    private static DinoServiceExtractFeaturesChunkedResponse head(DinoServiceExtractFeaturesResponse reply) {
        return DinoServiceExtractFeaturesChunkedResponse.newBuilder().setReply(reply).build();
    }

    private static TensorChunk piece(long offset, int... data) {
        return TensorChunk.newBuilder().setOffset(offset).setData(ByteString.copyFrom(Scripted.bytes(data))).build();
    }

    @Test
    void piecesAreJoinedToOneTensor() {
        server.chunked = to -> sent(to, 5, List.of(piece(0, 1, 2, 3), piece(3, 4, 5)));
        assertArrayEquals(Scripted.bytes(1, 2, 3, 4, 5), received());
    }

    @Test
    void aSmallAnswerComesInOneMessage() {
        server.chunked = to -> to.onNext(head(Scripted.features(Scripted.bytes(8, 9))));
        assertArrayEquals(Scripted.bytes(8, 9), received());
    }

    @Test
    void anAnswerWithMissingPiecesIsAnError() {
        for (List<TensorChunk> pieces : List.<List<TensorChunk>>of(
                List.of(), List.of(piece(0, 1, 2)), List.of(piece(0, 1), piece(3, 4, 5)), List.of(piece(0, 1, 2, 3, 4, 5, 6)))) {
            server.chunked = to -> sent(to, 5, pieces);
            assertEquals(Status.Code.INTERNAL, assertThrows(FeatsvcException.class, this::received).code());
        }
    }

    @Test
    void anAnswerThatBreaksOffIsAskedForAgain() {
        server.chunked = to -> {
            if (++attempts == 1) {
                sent(to, 2, List.of(piece(0, 9)));
                throw Scripted.refusal(Status.Code.UNAVAILABLE);
            }
            sent(to, 2, List.of(piece(0, 1), piece(1, 2)));
        };
        assertArrayEquals(Scripted.bytes(1, 2), received());
        assertEquals(2, attempts);
    }
}
