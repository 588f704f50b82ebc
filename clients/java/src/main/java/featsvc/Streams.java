package featsvc;

import featsvc.v1.*;

/** The methods of many questions: how each is numbered, and what its answers hold. */
final class Streams {
    private Streams() {}

    static final Window.Method<
                    ClipServiceExtractFeaturesRequest, ClipServiceExtractFeaturesResponse,
                    ClipServiceExtractFeaturesStreamRequest, ClipServiceExtractFeaturesStreamResponse>
            CLIP_FEATURES = new Window.Method<>(
                    ClipServiceGrpc.getExtractFeaturesStreamMethod(),
                    (id, request) -> ClipServiceExtractFeaturesStreamRequest.newBuilder()
                            .setRequestId(id).setRequest(request).build(),
                    answer -> new Window.Reply<>(
                            answer.getRequestId(), answer.getResponse(), answer.hasError() ? answer.getError() : null,
                            answer.hasTiming() ? answer.getTiming() : null));

    static final Window.Method<
                    DinoServiceExtractFeaturesRequest, DinoServiceExtractFeaturesResponse,
                    DinoServiceExtractFeaturesStreamRequest, DinoServiceExtractFeaturesStreamResponse>
            DINO_FEATURES = new Window.Method<>(
                    DinoServiceGrpc.getExtractFeaturesStreamMethod(),
                    (id, request) -> DinoServiceExtractFeaturesStreamRequest.newBuilder()
                            .setRequestId(id).setRequest(request).build(),
                    answer -> new Window.Reply<>(
                            answer.getRequestId(), answer.getResponse(), answer.hasError() ? answer.getError() : null,
                            answer.hasTiming() ? answer.getTiming() : null));

    static final Window.Method<
                    EmbedPyramidRequest, EmbedPyramidResponse, EmbedPyramidStreamRequest, EmbedPyramidStreamResponse>
            EMBED_PYRAMID = new Window.Method<>(
                    ClipServiceGrpc.getEmbedPyramidStreamMethod(),
                    (id, request) -> EmbedPyramidStreamRequest.newBuilder().setRequestId(id).setRequest(request).build(),
                    answer -> new Window.Reply<>(
                            answer.getRequestId(), answer.getResponse(), answer.hasError() ? answer.getError() : null,
                            answer.hasTiming() ? answer.getTiming() : null));

    static final Window.Method<
                    PredictMasksRequest, PredictMasksResponse, PredictMasksStreamRequest, PredictMasksStreamResponse>
            PREDICT_MASKS = new Window.Method<>(
                    Sam2ServiceGrpc.getPredictMasksStreamMethod(),
                    (id, request) -> PredictMasksStreamRequest.newBuilder().setRequestId(id).setRequest(request).build(),
                    answer -> new Window.Reply<>(
                            answer.getRequestId(), answer.getResponse(), answer.hasError() ? answer.getError() : null,
                            answer.hasTiming() ? answer.getTiming() : null));

    static final Window.Method<
                    DescribeObjectsRequest, DescribeObjectsResponse, DescribeObjectsStreamRequest, DescribeObjectsStreamResponse>
            DESCRIBE_OBJECTS = new Window.Method<>(
                    ObjectServiceGrpc.getDescribeObjectsStreamMethod(),
                    (id, request) -> DescribeObjectsStreamRequest.newBuilder().setRequestId(id).setRequest(request).build(),
                    answer -> new Window.Reply<>(
                            answer.getRequestId(), answer.getResponse(), answer.hasError() ? answer.getError() : null,
                            answer.hasTiming() ? answer.getTiming() : null));

    static final Window.Method<
                    FindObjectsRequest, FindObjectsResponse, FindObjectsStreamRequest, FindObjectsStreamResponse>
            FIND_OBJECTS = new Window.Method<>(
                    ObjectServiceGrpc.getFindObjectsStreamMethod(),
                    (id, request) -> FindObjectsStreamRequest.newBuilder().setRequestId(id).setRequest(request).build(),
                    answer -> new Window.Reply<>(
                            answer.getRequestId(), answer.getResponse(), answer.hasError() ? answer.getError() : null,
                            answer.hasTiming() ? answer.getTiming() : null));
}
