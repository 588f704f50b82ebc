package featsvc.conformance;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import featsvc.Answer;
import featsvc.Answers;
import featsvc.FeatsvcClient;
import featsvc.FeatsvcException;
import featsvc.Question;
import featsvc.v1.*;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.function.Function;

/** Each method of the contract, by the client's own way to ask it. */
final class Asking {
    private Asking() {}

    /** How the questions of a case are asked, and what lines that gives. */
    private interface Way {
        List<Map<String, Object>> lines(Main.Case about);
    }

    static List<Map<String, Object>> lines(FeatsvcClient client, Main.Case about) {
        return way(client, about.rpc().substring("featsvc.v1.".length())).lines(about);
    }

    private static Way way(FeatsvcClient c, String rpc) {
        var clip = ClipServiceExtractFeaturesRequest.getDefaultInstance();
        var dino = DinoServiceExtractFeaturesRequest.getDefaultInstance();
        var pyramid = EmbedPyramidRequest.getDefaultInstance();
        var masks = GenerateMasksRequest.getDefaultInstance();
        var prompts = PredictMasksRequest.getDefaultInstance();
        return switch (rpc) {
            case "ClipService/ExtractFeatures" ->
                    unary(clip, request -> c.call(ClipServiceGrpc.getExtractFeaturesMethod(), request), Arrays::clip);
            case "ClipService/ExtractFeaturesChunked" -> unary(clip, c::clipFeatures, Arrays::clip);
            case "ClipService/ExtractFeaturesStream" -> stream(clip, c::streamClipFeatures, Arrays::clip);
            case "ClipService/EncodeText" ->
                    unary(EncodeTextRequest.getDefaultInstance(), c::encodeText, Arrays::texts);
            case "ClipService/ComputeSimilarity" ->
                    unary(ComputeSimilarityRequest.getDefaultInstance(), c::computeSimilarity, Arrays::similarity);
            case "ClipService/EncodeImage" ->
                    unary(EncodeImageRequest.getDefaultInstance(), c::encodeImage, Arrays::image);
            case "ClipService/EmbedPyramid" ->
                    unary(pyramid, request -> c.call(ClipServiceGrpc.getEmbedPyramidMethod(), request), Arrays::pyramid);
            case "ClipService/EmbedPyramidChunked" -> unary(pyramid, c::embedPyramid, Arrays::pyramid);
            case "ClipService/EmbedPyramidStream" -> stream(pyramid, c::streamEmbedPyramid, Arrays::pyramid);
            case "DinoService/ExtractFeatures" ->
                    unary(dino, request -> c.call(DinoServiceGrpc.getExtractFeaturesMethod(), request), Arrays::dino);
            case "DinoService/ExtractFeaturesChunked" -> unary(dino, c::dinoFeatures, Arrays::dino);
            case "DinoService/ExtractFeaturesStream" -> stream(dino, c::streamDinoFeatures, Arrays::dino);
            case "Sam2Service/GenerateMasks" ->
                    unary(masks, request -> c.call(Sam2ServiceGrpc.getGenerateMasksMethod(), request), Arrays::masks);
            case "Sam2Service/GenerateMasksStream" -> unary(masks, c::generateMasks, Arrays::masks);
            case "Sam2Service/PredictMasks" -> unary(prompts, c::predictMasks, Arrays::prompts);
            case "Sam2Service/PredictMasksStream" -> stream(prompts, c::streamPredictMasks, Arrays::prompts);
            case "Sam2Service/EmbedImage" ->
                    unary(EmbedImageRequest.getDefaultInstance(), c::embedImage, Arrays::embedding);
            case "ObjectService/DescribeObjects" ->
                    unary(DescribeObjectsRequest.getDefaultInstance(), c::describeObjects, Arrays::objects);
            case "ObjectService/DescribeObjectsStream" ->
                    stream(DescribeObjectsRequest.getDefaultInstance(), c::streamDescribeObjects, Arrays::objects);
            case "ObjectService/FindObjects" ->
                    unary(FindObjectsRequest.getDefaultInstance(), c::findObjects, Arrays::found);
            case "ObjectService/FindObjectsStream" ->
                    stream(FindObjectsRequest.getDefaultInstance(), c::streamFindObjects, Arrays::found);
            case "ModelService/GetCaller" ->
                    unary(GetCallerRequest.getDefaultInstance(), request -> c.getCaller(), Arrays::none);
            case "ModelService/ListModels" ->
                    unary(ListModelsRequest.getDefaultInstance(), c::listModels, Arrays::none);
            case "ModelService/LoadModel" ->
                    unary(LoadModelRequest.getDefaultInstance(), c::loadModel, Arrays::none);
            case "ModelService/UnloadModel" ->
                    unary(UnloadModelRequest.getDefaultInstance(), c::unloadModel, Arrays::none);
            case "ModelService/GetStatus" ->
                    unary(GetStatusRequest.getDefaultInstance(), request -> c.getStatus(), Arrays::none);
            default -> throw new IllegalArgumentException("no method " + rpc);
        };
    }

    private static <Q extends Message, R extends Message> Way unary(
            Q kind, Function<Q, R> call, Function<R, Map<String, Object>> read) {
        return about -> {
            String name = about.names().get(0);
            try {
                R reply = call.apply(parsed(kind, about.questions().get(0)));
                return List.of(Main.answered(name, model(reply), read.apply(reply)));
            } catch (FeatsvcException e) {
                return List.of(Main.refused(name, e));
            }
        };
    }

    /** A method of the client with many questions. */
    private interface Streamed<Q, R> {
        Answers<R> ask(Iterable<Question<Q>> questions, int window);
    }

    private static <Q extends Message, R extends Message> Way stream(
            Q kind, Streamed<Q, R> call, Function<R, Map<String, Object>> read) {
        return about -> {
            List<Question<Q>> questions = new ArrayList<>();
            for (int i = 0; i < about.questions().size(); i++) {
                questions.add(new Question<>(about.names().get(i), parsed(kind, about.questions().get(i))));
            }
            Map<String, Map<String, Object>> found = new HashMap<>();
            FeatsvcException broken = null;
            Semaphore seen = new Semaphore(0);
            Iterable<Question<Q>> source = about.paced() ? () -> paced(questions.iterator(), seen) : questions;
            try (Answers<R> answers = call.ask(source, 2)) {
                for (Answer<R> answer : answers) {
                    found.put(answer.id(), line(answer, read));
                    seen.release();
                }
            } catch (FeatsvcException e) {
                broken = e;
            }
            List<Map<String, Object>> lines = new ArrayList<>();
            for (String name : about.names()) {
                lines.add(found.containsKey(name) ? found.get(name) : Main.refused(name, broken));
            }
            return lines;
        };
    }

    /** The questions, each only when the answer to the one before it has been seen. */
    private static <T> Iterator<T> paced(Iterator<T> questions, Semaphore seen) {
        return new Iterator<>() {
            private boolean isFirst = true;

            @Override
            public boolean hasNext() {
                return questions.hasNext();
            }

            @Override
            public T next() {
                if (!isFirst) {
                    // A caller that has left interrupts it.
                    try {
                        seen.acquire();
                    } catch (InterruptedException e) {
                        throw new IllegalStateException(e);
                    }
                }
                isFirst = false;
                return questions.next();
            }
        };
    }

    private static <R extends Message> Map<String, Object> line(Answer<R> answer, Function<R, Map<String, Object>> read) {
        try {
            R reply = answer.get();
            return Main.answered(answer.id(), model(reply), read.apply(reply));
        } catch (FeatsvcException e) {
            return Main.refused(answer.id(), e);
        }
    }

    @SuppressWarnings("unchecked") // A builder of Q builds a Q.
    private static <Q extends Message> Q parsed(Q kind, Main.Asked asked) {
        Message.Builder request = kind.newBuilderForType();
        try {
            JsonFormat.parser().merge(asked.request().toString(), request);
        } catch (InvalidProtocolBufferException e) {
            throw new IllegalArgumentException(e);
        }
        return (Q) request.build();
    }

    /** The key of the model that answered, or that the answer is about. */
    private static String model(Message reply) {
        FieldDescriptor field = reply.getDescriptorForType().findFieldByName("model");
        if (field == null) {
            return "";
        }
        Object model = reply.getField(field);
        return model instanceof Model about ? about.getKey() : (String) model;
    }
}
