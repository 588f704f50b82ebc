package featsvc;

import com.google.protobuf.UnsafeByteOperations;
import featsvc.v1.GenerateMasksResponse;
import featsvc.v1.GenerateMasksStreamRequest;
import featsvc.v1.GenerateMasksStreamResponse;
import featsvc.v1.MasksSummary;
import featsvc.v1.Sam2ServiceGrpc;
import featsvc.v1.Tensor;
import featsvc.v1.TensorChunk;
import io.grpc.Deadline;
import io.grpc.MethodDescriptor;
import java.util.function.BiFunction;
import java.util.function.Function;

/** Answers that come in pieces. */
final class Pieces {
    // A piece has 1 MiB: enough under way for a fast connection, little in memory.
    private static final int AHEAD = 8;

    private Pieces() {}

    /** How the messages of a method are read: the whole answer (null in a piece), and the piece (null in the first message). */
    record Reading<M, R>(
            Function<M, R> reply, Function<M, TensorChunk> chunk, Function<R, Tensor> tensor, BiFunction<R, Tensor, R> with) {}

    /** Asks until it has the whole answer, and puts the data into the tensor that it belongs to. */
    static <Q, M, R> R joined(Connection connection, MethodDescriptor<Q, M> method, Q request, Reading<M, R> reading) {
        Deadline deadline = connection.deadline();
        return connection.retried(deadline, () -> {
            try (var wire = asked(connection, method, request, deadline)) {
                M begin = whole(wire.next());
                R reply = reading.reply().apply(begin);
                if (reply == null) {
                    throw FeatsvcException.damaged("it began with a piece");
                }
                return reading.with().apply(reply, filled(reading.tensor().apply(reply), wire, reading.chunk()));
            }
        });
    }

    /** Receives the data of a tensor that has none yet into one array. */
    private static <M> Tensor filled(Tensor tensor, Wire<?, M> wire, Function<M, TensorChunk> piece) {
        int size = Tensors.size(tensor);
        int at = tensor.getData().size();
        byte[] data = at == 0 ? new byte[size] : null;
        for (M message = wire.next(); message != null; message = wire.next()) {
            TensorChunk chunk = piece.apply(message);
            if (chunk == null || data == null || chunk.getOffset() != at || chunk.getData().size() > size - at) {
                throw FeatsvcException.damaged("another piece came than the one due at " + at + " of " + size);
            }
            chunk.getData().copyTo(data, at);
            at += chunk.getData().size();
        }
        if (at != size) {
            throw FeatsvcException.damaged("it ended after " + at + " of " + size + " bytes");
        }
        return data == null ? tensor : tensor.toBuilder().setData(UnsafeByteOperations.unsafeWrap(data)).build();
    }

    /** All masks of a stream and what its summary says. */
    static GenerateMasksResponse listed(Connection connection, GenerateMasksStreamRequest request) {
        Deadline deadline = connection.deadline();
        return connection.retried(deadline, () -> {
            try (var wire = asked(connection, Sam2ServiceGrpc.getGenerateMasksStreamMethod(), request, deadline)) {
                GenerateMasksResponse.Builder reply = GenerateMasksResponse.newBuilder();
                GenerateMasksStreamResponse message = whole(wire.next());
                for (; !message.hasSummary(); message = whole(wire.next())) {
                    reply.addMasks(message.getMask());
                }
                MasksSummary summary = message.getSummary();
                if (summary.getCount() != reply.getMasksCount()) {
                    throw FeatsvcException.damaged(reply.getMasksCount() + " masks came of " + summary.getCount());
                }
                reply.setHeight(summary.getHeight()).setWidth(summary.getWidth()).setModel(summary.getModel());
                reply.setImageDigest(summary.getImageDigest()).setImageOrientation(summary.getImageOrientation());
                if (summary.hasLabelMap()) {
                    reply.setLabelMap(summary.getLabelMap());
                }
                // What comes after the summary is how the call ended.
                wire.next();
                return reply.build();
            }
        });
    }

    private static <Q, M> Wire<Q, M> asked(
            Connection connection, MethodDescriptor<Q, M> method, Q request, Deadline deadline) {
        var wire = new Wire<>(connection.channel(), method, Connection.until(deadline), AHEAD);
        wire.send(request);
        wire.halfClose();
        return wire;
    }

    private static <M> M whole(M message) {
        if (message == null) {
            throw FeatsvcException.damaged("it ended before it was whole");
        }
        return message;
    }
}
