package featsvc;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import featsvc.v1.FieldViolation;
import featsvc.v1.ItemError;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** Why a call, or one question of a stream, has no answer. */
public final class FeatsvcException extends RuntimeException {
    private static final long serialVersionUID = 1;
    private static final Metadata.Key<String> RETRY_AFTER = key("retry-after-ms");
    private static final Metadata.Key<String> REASON = key("featsvc-reason");
    private static final Metadata.Key<String> REQUEST_ID = key("x-request-id");
    // gRPC has only words for its own limits; the first are those of servers, the others those of grpc-java.
    private static final List<String> TOO_LARGE =
            List.of("message larger than max", "message exceeds maximum size", "message too large");

    private final Status.Code code;
    private final transient List<Violation> violations;
    private final Duration retryAfter;
    private final String requestId;
    private final boolean isFinal;

    /**
     * One bad field of a request.
     *
     * @param field its path in the request, with dots between and indices in brackets
     * @param description what is wrong with it
     */
    public record Violation(String field, String description) {
        @Override
        public String toString() {
            return field + ": " + description;
        }
    }

    private FeatsvcException(
            Status status, List<Violation> violations, Duration retryAfter, String requestId, boolean isFinal) {
        super(status.getCode() + ": " + status.getDescription(), status.getCause());
        this.code = status.getCode();
        this.violations = List.copyOf(violations);
        this.retryAfter = retryAfter;
        this.requestId = requestId;
        this.isFinal = isFinal;
    }

    /** What the end of a call says. */
    static FeatsvcException of(Status end, Metadata trailers) {
        // A message that cannot be sent cancels its call; why it cannot stands in the cause.
        boolean unsent = end.getCode() == Status.Code.CANCELLED && end.getCause() instanceof StatusRuntimeException;
        Status status = unsent ? ((StatusRuntimeException) end.getCause()).getStatus() : end;
        Metadata said = trailers == null ? new Metadata() : trailers;
        String description = String.valueOf(status.getDescription());
        boolean isFinal = said.get(REASON) != null || TOO_LARGE.stream().anyMatch(description::contains);
        String requestId = said.get(REQUEST_ID);
        return new FeatsvcException(
                status, violations(status, said), milliseconds(said.get(RETRY_AFTER)), requestId == null ? "" : requestId, isFinal);
    }

    /** The same of one question of a stream. */
    static FeatsvcException of(ItemError error) {
        List<Violation> violations = new ArrayList<>();
        for (FieldViolation each : error.getFieldViolationsList()) {
            violations.add(new Violation(each.getField(), each.getDescription()));
        }
        Status.Code code = Status.Code.UNKNOWN;
        for (Status.Code each : Status.Code.values()) {
            code = each.name().equals(error.getCode()) ? each : code;
        }
        Duration retryAfter = Duration.ofMillis(Integer.toUnsignedLong(error.getRetryAfterMs()));
        boolean isFinal =
                !error.getReason().isEmpty() || (code == Status.Code.RESOURCE_EXHAUSTED && retryAfter.isZero());
        return new FeatsvcException(
                code.toStatus().withDescription(error.getMessage()), violations, retryAfter, "", isFinal);
    }

    /** The exception for an answer that cannot be read. */
    static FeatsvcException damaged(String how) {
        return of(Status.INTERNAL.withDescription("the answer cannot be read: " + how), null);
    }

    /**
     * The status of gRPC.
     *
     * @return its code
     */
    public Status.Code code() {
        return code;
    }

    /**
     * The bad fields of the request.
     *
     * @return those that the server names
     */
    public List<Violation> violations() {
        return violations == null ? List.of() : violations;
    }

    /**
     * When the server expects to have a place.
     *
     * @return how long that will take; zero where the server does not say
     */
    public Duration retryAfter() {
        return retryAfter;
    }

    /**
     * What finds the call in the server's log.
     *
     * @return the request id; empty where there is none
     */
    public String requestId() {
        return requestId;
    }

    /**
     * Whether another try will not help, though the code alone would allow it.
     *
     * @return true where the server, or a limit of gRPC, says so
     */
    public boolean isFinal() {
        return isFinal;
    }

    private static List<Violation> violations(Status status, Metadata trailers) {
        List<Violation> found = new ArrayList<>();
        try {
            for (Any detail : StatusProto.fromStatusAndTrailers(status, trailers).getDetailsList()) {
                if (detail.is(BadRequest.class)) {
                    for (var each : detail.unpack(BadRequest.class).getFieldViolationsList()) {
                        found.add(new Violation(each.getField(), each.getDescription()));
                    }
                }
            }
        } catch (InvalidProtocolBufferException | IllegalArgumentException unreadable) {
            // The code and the message say enough.
            return found;
        }
        return found;
    }

    private static Duration milliseconds(String text) {
        return text != null && text.matches("[0-9]{1,9}") ? Duration.ofMillis(Long.parseLong(text)) : Duration.ZERO;
    }

    private static Metadata.Key<String> key(String name) {
        return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
    }
}
