package featsvc;

import featsvc.v1.*;
import io.grpc.Channel;
import io.grpc.Deadline;
import io.grpc.MethodDescriptor;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/**
 * A connection to a server, which threads may share. Requests and replies are the messages of the contract.
 *
 * <p>Every method waits for its answer, and throws a {@link FeatsvcException} where there is none.
 */
public final class FeatsvcClient extends Streams implements AutoCloseable {
    private FeatsvcClient(Connection connection) {
        super(connection);
    }

    /**
     * Prepares a connection to a server on this machine. The first call opens it.
     *
     * @param target host:port
     * @return the client
     */
    public static FeatsvcClient connect(String target) {
        return connect(target, ConnectOptions.DEFAULT);
    }

    /**
     * Prepares a connection. The first call opens it.
     *
     * @param target host:port
     * @param options how to connect
     * @return the client
     */
    public static FeatsvcClient connect(String target, ConnectOptions options) {
        return new FeatsvcClient(Connection.to(target, options));
    }

    /**
     * The same connection with another deadline.
     *
     * @param limit how long each call may take, all its attempts together
     * @return the client, which needs no closing of its own
     */
    public FeatsvcClient withDeadline(Duration limit) {
        return new FeatsvcClient(
                new Connection(connection.managed(), connection.channel(), connection.options().withDeadline(limit)));
    }

    /**
     * The same connection with calls that are urgent beside others with the same key. It counts for nothing beside other keys.
     *
     * @param priority from -9 to 9, and 0 unless it is said: higher ones come first
     * @return the client, which needs no closing of its own
     */
    public FeatsvcClient withPriority(int priority) {
        return new FeatsvcClient(connection.withPriority(priority));
    }

    /**
     * The channel, with this client's key and limits, for generated stubs of any kind.
     *
     * @return the channel
     */
    public Channel channel() {
        return connection.channel();
    }

    /**
     * Calls any method of one message each way, with other tries where those may help.
     *
     * @param <Q> the request
     * @param <R> the reply
     * @param method the method, such as {@code ClipServiceGrpc.getEncodeTextMethod()}
     * @param request what is asked
     * @return the reply
     */
    public <Q, R> R call(MethodDescriptor<Q, R> method, Q request) {
        Deadline deadline = connection.deadline();
        return connection.retried(deadline,
                () -> ClientCalls.blockingUnaryCall(connection.channel(), method, Connection.until(deadline), request));
    }

    /**
     * Dense CLIP features, received in pieces, which suits answers of any size.
     *
     * @param request what is asked
     * @return the features, which {@link Tensors#features(ClipServiceExtractFeaturesResponse)} reads
     */
    public ClipServiceExtractFeaturesResponse clipFeatures(ClipServiceExtractFeaturesRequest request) {
        return Pieces.joined(
                connection,
                ClipServiceGrpc.getExtractFeaturesChunkedMethod(),
                ClipServiceExtractFeaturesChunkedRequest.newBuilder().setRequest(request).build(),
                new Pieces.Reading<>(
                        message -> message.hasReply() ? message.getReply() : null,
                        message -> message.hasChunk() ? message.getChunk() : null,
                        ClipServiceExtractFeaturesResponse::getFeatures,
                        (reply, features) -> reply.toBuilder().setFeatures(features).build()));
    }

    /**
     * Dense DINO features, received in pieces, which suits answers of any size.
     *
     * @param request what is asked
     * @return the features, which {@link Tensors#features(DinoServiceExtractFeaturesResponse)} reads
     */
    public DinoServiceExtractFeaturesResponse dinoFeatures(DinoServiceExtractFeaturesRequest request) {
        return Pieces.joined(
                connection,
                DinoServiceGrpc.getExtractFeaturesChunkedMethod(),
                DinoServiceExtractFeaturesChunkedRequest.newBuilder().setRequest(request).build(),
                new Pieces.Reading<>(
                        message -> message.hasReply() ? message.getReply() : null,
                        message -> message.hasChunk() ? message.getChunk() : null,
                        DinoServiceExtractFeaturesResponse::getFeatures,
                        (reply, features) -> reply.toBuilder().setFeatures(features).build()));
    }

    /**
     * CLIP embeddings of tiles of a picture in several sizes, received in pieces, which suits answers of any size.
     *
     * @param request what is asked
     * @return the pyramid, which {@link Tensors#features(EmbedPyramidResponse)} reads
     */
    public EmbedPyramidResponse embedPyramid(EmbedPyramidRequest request) {
        return Pieces.joined(
                connection,
                ClipServiceGrpc.getEmbedPyramidChunkedMethod(),
                EmbedPyramidChunkedRequest.newBuilder().setRequest(request).build(),
                new Pieces.Reading<>(
                        message -> message.hasReply() ? message.getReply() : null,
                        message -> message.hasChunk() ? message.getChunk() : null,
                        EmbedPyramidResponse::getFeatures,
                        (reply, features) -> reply.toBuilder().setFeatures(features).build()));
    }

    /**
     * Masks of everything in a picture, each received in a message of its own, which suits any number of them.
     *
     * @param request what is asked
     * @return the masks, which {@link Masks#pixels(Mask)} reads
     */
    public GenerateMasksResponse generateMasks(GenerateMasksRequest request) {
        return Pieces.listed(connection, GenerateMasksStreamRequest.newBuilder().setRequest(request).build());
    }

    /**
     * Masks of what prompts point at.
     *
     * @param request what is asked
     * @return the masks, which {@link Masks#pixels(PromptMasks)} reads
     */
    public PredictMasksResponse predictMasks(PredictMasksRequest request) {
        return call(Sam2ServiceGrpc.getPredictMasksMethod(), request);
    }

    /**
     * Encodes a picture before the first question about it.
     *
     * @param request what is asked
     * @return the reply
     */
    public EmbedImageResponse embedImage(EmbedImageRequest request) {
        return call(Sam2ServiceGrpc.getEmbedImageMethod(), request);
    }

    /**
     * Objects of a picture: masks, found or given, each with vectors that describe it.
     *
     * @param request what is asked
     * @return the objects, whose vectors {@link Tensors#vectors} reads
     */
    public DescribeObjectsResponse describeObjects(DescribeObjectsRequest request) {
        return call(ObjectServiceGrpc.getDescribeObjectsMethod(), request);
    }

    /**
     * The objects of a picture that texts name, or that are like given vectors.
     *
     * @param request what is asked
     * @return the objects
     */
    public FindObjectsResponse findObjects(FindObjectsRequest request) {
        return call(ObjectServiceGrpc.getFindObjectsMethod(), request);
    }

    /**
     * Embeddings of texts.
     *
     * @param request what is asked
     * @return the reply
     */
    public EncodeTextResponse encodeText(EncodeTextRequest request) {
        return call(ClipServiceGrpc.getEncodeTextMethod(), request);
    }

    /**
     * The embedding of a picture.
     *
     * @param request what is asked
     * @return the reply
     */
    public EncodeImageResponse encodeImage(EncodeImageRequest request) {
        return call(ClipServiceGrpc.getEncodeImageMethod(), request);
    }

    /**
     * How well each patch of a picture fits each text.
     *
     * @param request what is asked
     * @return the reply
     */
    public ComputeSimilarityResponse computeSimilarity(ComputeSimilarityRequest request) {
        return call(ClipServiceGrpc.getComputeSimilarityMethod(), request);
    }

    /**
     * Who you are to the server: name, roles, models and limits of your key.
     *
     * @return the reply
     */
    public GetCallerResponse getCaller() {
        return call(ModelServiceGrpc.getGetCallerMethod(), GetCallerRequest.getDefaultInstance());
    }

    /**
     * The models that the server knows.
     *
     * @param request what is asked
     * @return the reply
     */
    public ListModelsResponse listModels(ListModelsRequest request) {
        return call(ModelServiceGrpc.getListModelsMethod(), request);
    }

    /**
     * Loads a model on every worker.
     *
     * @param request what is asked
     * @return the reply
     */
    public LoadModelResponse loadModel(LoadModelRequest request) {
        return call(ModelServiceGrpc.getLoadModelMethod(), request);
    }

    /**
     * Frees the memory of a model on every worker.
     *
     * @param request what is asked
     * @return the reply
     */
    public UnloadModelResponse unloadModel(UnloadModelRequest request) {
        return call(ModelServiceGrpc.getUnloadModelMethod(), request);
    }

    /**
     * Has the server finish what it has, and end.
     *
     * @param request what is asked
     * @return the reply
     */
    public DrainResponse drain(DrainRequest request) {
        return call(ModelServiceGrpc.getDrainMethod(), request);
    }

    /**
     * What a question would cost, and how long it would wait, without asking it.
     *
     * @param request what is asked
     * @return the reply
     */
    public EstimateResponse estimate(EstimateRequest request) {
        return call(EstimateServiceGrpc.getEstimateMethod(), request);
    }

    /**
     * The state of the server.
     *
     * @return the reply
     */
    public GetStatusResponse getStatus() {
        return call(ModelServiceGrpc.getGetStatusMethod(), GetStatusRequest.getDefaultInstance());
    }

    /** Ends the connection and every call under way. */
    @Override
    public void close() {
        connection.managed().shutdownNow();
        try {
            connection.managed().awaitTermination(5, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
