package featsvc;

import featsvc.v1.*;

/** The methods of many questions, which a client has beside those of one: how each is numbered, and what its answers hold. */
abstract sealed class Streams permits FeatsvcClient {
    final Connection connection;

    Streams(Connection connection) {
        this.connection = connection;
    }

    private static final Window.Method<
                    ClipServiceExtractFeaturesRequest, ClipServiceExtractFeaturesResponse,
                    ClipServiceExtractFeaturesStreamRequest, ClipServiceExtractFeaturesStreamResponse>
            CLIP_FEATURES = new Window.Method<>(
                    ClipServiceGrpc.getExtractFeaturesStreamMethod(),
                    (id, request) -> ClipServiceExtractFeaturesStreamRequest.newBuilder()
                            .setRequestId(id).setRequest(request).build(),
                    answer -> new Window.Reply<>(
                            answer.getRequestId(), answer.getResponse(), answer.hasError() ? answer.getError() : null,
                            answer.hasTiming() ? answer.getTiming() : null));

    private static final Window.Method<
                    DinoServiceExtractFeaturesRequest, DinoServiceExtractFeaturesResponse,
                    DinoServiceExtractFeaturesStreamRequest, DinoServiceExtractFeaturesStreamResponse>
            DINO_FEATURES = new Window.Method<>(
                    DinoServiceGrpc.getExtractFeaturesStreamMethod(),
                    (id, request) -> DinoServiceExtractFeaturesStreamRequest.newBuilder()
                            .setRequestId(id).setRequest(request).build(),
                    answer -> new Window.Reply<>(
                            answer.getRequestId(), answer.getResponse(), answer.hasError() ? answer.getError() : null,
                            answer.hasTiming() ? answer.getTiming() : null));

    private static final Window.Method<
                    EmbedPyramidRequest, EmbedPyramidResponse, EmbedPyramidStreamRequest, EmbedPyramidStreamResponse>
            EMBED_PYRAMID = new Window.Method<>(
                    ClipServiceGrpc.getEmbedPyramidStreamMethod(),
                    (id, request) -> EmbedPyramidStreamRequest.newBuilder().setRequestId(id).setRequest(request).build(),
                    answer -> new Window.Reply<>(
                            answer.getRequestId(), answer.getResponse(), answer.hasError() ? answer.getError() : null,
                            answer.hasTiming() ? answer.getTiming() : null));

    private static final Window.Method<
                    PredictMasksRequest, PredictMasksResponse, PredictMasksStreamRequest, PredictMasksStreamResponse>
            PREDICT_MASKS = new Window.Method<>(
                    Sam2ServiceGrpc.getPredictMasksStreamMethod(),
                    (id, request) -> PredictMasksStreamRequest.newBuilder().setRequestId(id).setRequest(request).build(),
                    answer -> new Window.Reply<>(
                            answer.getRequestId(), answer.getResponse(), answer.hasError() ? answer.getError() : null,
                            answer.hasTiming() ? answer.getTiming() : null));

    private static final Window.Method<
                    DescribeObjectsRequest, DescribeObjectsResponse, DescribeObjectsStreamRequest, DescribeObjectsStreamResponse>
            DESCRIBE_OBJECTS = new Window.Method<>(
                    ObjectServiceGrpc.getDescribeObjectsStreamMethod(),
                    (id, request) -> DescribeObjectsStreamRequest.newBuilder().setRequestId(id).setRequest(request).build(),
                    answer -> new Window.Reply<>(
                            answer.getRequestId(), answer.getResponse(), answer.hasError() ? answer.getError() : null,
                            answer.hasTiming() ? answer.getTiming() : null));

    private static final Window.Method<
                    FindObjectsRequest, FindObjectsResponse, FindObjectsStreamRequest, FindObjectsStreamResponse>
            FIND_OBJECTS = new Window.Method<>(
                    ObjectServiceGrpc.getFindObjectsStreamMethod(),
                    (id, request) -> FindObjectsStreamRequest.newBuilder().setRequestId(id).setRequest(request).build(),
                    answer -> new Window.Reply<>(
                            answer.getRequestId(), answer.getResponse(), answer.hasError() ? answer.getError() : null,
                            answer.hasTiming() ? answer.getTiming() : null));

    /**
     * Dense CLIP features of many pictures. Answers come as they are done; what is wrong with one picture is its answer. The
     * deadline is that of all together.
     *
     * @param questions the questions, each taken when there is room for it, by a thread of its own: no answer waits for the next
     *     question. Closing the answers interrupts it.
     * @param window how many are under way at most
     * @return the answers
     */
    public Answers<ClipServiceExtractFeaturesResponse> streamClipFeatures(
            Iterable<Question<ClipServiceExtractFeaturesRequest>> questions, int window) {
        return new Window<>(connection, CLIP_FEATURES, questions, window);
    }

    /**
     * The same of DINO.
     *
     * @param questions the questions, each taken when there is room for it
     * @param window how many are under way at most
     * @return the answers
     */
    public Answers<DinoServiceExtractFeaturesResponse> streamDinoFeatures(
            Iterable<Question<DinoServiceExtractFeaturesRequest>> questions, int window) {
        return new Window<>(connection, DINO_FEATURES, questions, window);
    }

    /**
     * The same of pyramids.
     *
     * @param questions the questions, each taken when there is room for it
     * @param window how many are under way at most
     * @return the answers
     */
    public Answers<EmbedPyramidResponse> streamEmbedPyramid(
            Iterable<Question<EmbedPyramidRequest>> questions, int window) {
        return new Window<>(connection, EMBED_PYRAMID, questions, window);
    }

    /**
     * The same of masks of prompts.
     *
     * @param questions the questions, each taken when there is room for it
     * @param window how many are under way at most
     * @return the answers
     */
    public Answers<PredictMasksResponse> streamPredictMasks(
            Iterable<Question<PredictMasksRequest>> questions, int window) {
        return new Window<>(connection, PREDICT_MASKS, questions, window);
    }

    /**
     * The same of objects with vectors that describe them.
     *
     * @param questions the questions, each taken when there is room for it
     * @param window how many are under way at most
     * @return the answers
     */
    public Answers<DescribeObjectsResponse> streamDescribeObjects(
            Iterable<Question<DescribeObjectsRequest>> questions, int window) {
        return new Window<>(connection, DESCRIBE_OBJECTS, questions, window);
    }

    /**
     * The same of objects that texts name.
     *
     * @param questions the questions, each taken when there is room for it
     * @param window how many are under way at most
     * @return the answers
     */
    public Answers<FindObjectsResponse> streamFindObjects(
            Iterable<Question<FindObjectsRequest>> questions, int window) {
        return new Window<>(connection, FIND_OBJECTS, questions, window);
    }
}
