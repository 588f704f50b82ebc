package featsvc.conformance;

import com.google.protobuf.Message;
import featsvc.Masks;
import featsvc.NdArray;
import featsvc.Tensors;
import featsvc.v1.*;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** What is printed of the arrays of an answer. */
final class Arrays {
    private static final int SAMPLES = 16;

    private Arrays() {}

    static Map<String, Object> none(Message reply) {
        return Map.of();
    }

    static Map<String, Object> clip(ClipServiceExtractFeaturesResponse reply) {
        return Map.of("features", floats(form(reply.getFeatures()), Tensors.features(reply)));
    }

    static Map<String, Object> dino(DinoServiceExtractFeaturesResponse reply) {
        return Map.of("features", floats(form(reply.getFeatures()), Tensors.features(reply)));
    }

    static Map<String, Object> pyramid(EmbedPyramidResponse reply) {
        return Map.of("features", floats(form(reply.getFeatures()), Tensors.features(reply)));
    }

    static Map<String, Object> texts(EncodeTextResponse reply) {
        return Map.of("embeddings", floats(reply.getTextEmbedding()));
    }

    static Map<String, Object> image(EncodeImageResponse reply) {
        return Map.of("embeddings", floats(reply.getImageEmbedding()));
    }

    static Map<String, Object> similarity(ComputeSimilarityResponse reply) {
        return Map.of("similarity", floats(reply.getSimilarityMap()));
    }

    static Map<String, Object> masks(GenerateMasksResponse reply) {
        return reply.hasLabelMap() ? Map.of("label_map", labels(reply.getLabelMap())) : pixels(reply.getMasksList());
    }

    static Map<String, Object> objects(DescribeObjectsResponse reply) {
        Map<String, Object> found = pixels(reply.getObjectsList(), reply.hasLabelMap() ? reply.getLabelMap() : null);
        for (int i = 0; i < reply.getDescriptorsCount(); i++) {
            ObjectVectors each = reply.getDescriptors(i);
            found.put(i + ".vectors", floats(form(each.getVectors()), Tensors.vectors(each)));
        }
        return found;
    }

    static Map<String, Object> found(FindObjectsResponse reply) {
        Map<String, Object> found = pixels(reply.getObjectsList(), reply.hasLabelMap() ? reply.getLabelMap() : null);
        for (int i = 0; i < reply.getFoundCount(); i++) {
            List<ObjectMatch> matches = reply.getFound(i).getMatchesList();
            int[] shape = {matches.size()};
            int[] indices = matches.stream().mapToInt(ObjectMatch::getObject).toArray();
            float[] scores = new float[matches.size()];
            for (int j = 0; j < scores.length; j++) {
                scores[j] = (float) matches.get(j).getScore();
            }
            found.put(i + ".objects", integers("uint16", new NdArray<>(shape, indices)));
            found.put(i + ".scores", floats("float32", new NdArray<>(shape, scores)));
        }
        if (reply.hasTextMap()) {
            found.put("text_map", labels(reply.getTextMap()));
        }
        return found;
    }

    static Map<String, Object> embedding(EmbedImageResponse reply) {
        return reply.hasImageEmbed()
                ? Map.of(
                        "image_embed", floats(reply.getImageEmbed()),
                        "high_res_feats_0", floats(reply.getHighResFeats0()),
                        "high_res_feats_1", floats(reply.getHighResFeats1()))
                : Map.of();
    }

    private static Map<String, Object> pixels(List<SceneObject> objects, Tensor labelMap) {
        return labelMap == null
                ? pixels(objects.stream().map(SceneObject::getMask).toList())
                : new LinkedHashMap<>(Map.of("label_map", labels(labelMap)));
    }

    private static Map<String, Object> pixels(List<Mask> masks) {
        Map<String, Object> found = new LinkedHashMap<>();
        for (Mask each : masks) {
            String form = each.hasBitmap() ? form(each.getBitmap()) : each.hasRle() ? form(each.getRle()) : "png";
            found.put(found.size() + ".mask", booleans(form, Masks.pixels(each)));
        }
        return found;
    }

    static Map<String, Object> prompts(PredictMasksResponse reply) {
        Map<String, Object> found = new LinkedHashMap<>();
        for (int i = 0; i < reply.getResultsCount(); i++) {
            PromptMasks each = reply.getResults(i);
            if (each.hasLabelMap()) {
                found.put(i + ".label_map", labels(each.getLabelMap()));
            } else if (each.getMasks().getDtype() == DType.D_TYPE_FLOAT32) {
                found.put(i + ".masks", floats(each.getMasks()));
            } else {
                String form = each.hasMasks() ? form(each.getMasks()) : each.getRleCount() > 0 ? form(each.getRle(0)) : "png";
                found.put(i + ".masks", booleans(form, Masks.pixels(each)));
            }
            if (each.hasIouPredictions()) {
                found.put(i + ".iou_predictions", floats(each.getIouPredictions()));
            }
            if (each.hasLowResMasks()) {
                found.put(i + ".low_res_masks", floats(each.getLowResMasks()));
            }
        }
        return found;
    }

    /** The name of a tensor's element type. */
    private static String form(Tensor tensor) {
        return tensor.getDtype().name().substring("D_TYPE_".length()).toLowerCase(Locale.ROOT);
    }

    private static String form(Rle rle) {
        return rle.hasLengths() ? "lengths" : "coco";
    }

    private static Map<String, Object> floats(Tensor tensor) {
        return floats(form(tensor), Tensors.floats(tensor));
    }

    private static Map<String, Object> floats(String form, NdArray<float[]> array) {
        float[] values = array.values();
        ByteBuffer bytes = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
        bytes.asFloatBuffer().put(values);
        List<Double> sample = new ArrayList<>();
        int count = Math.min(SAMPLES, values.length);
        for (int i = 0; i < count; i++) {
            sample.add((double) values[(int) ((long) i * values.length / count)]);
        }
        return described(form, "float32", array.shape(), bytes, "sample", sample);
    }

    private static Map<String, Object> booleans(String form, NdArray<boolean[]> array) {
        ByteBuffer bytes = ByteBuffer.allocate(array.values().length);
        int area = 0;
        for (boolean each : array.values()) {
            bytes.put((byte) (each ? 1 : 0));
            area += each ? 1 : 0;
        }
        return described(form, "bool", array.shape(), bytes, "area", area);
    }

    private static Map<String, Object> labels(Tensor tensor) {
        return integers(form(tensor), Tensors.ints(tensor));
    }

    private static Map<String, Object> integers(String form, NdArray<int[]> array) {
        ByteBuffer bytes = ByteBuffer.allocate(2 * array.values().length).order(ByteOrder.LITTLE_ENDIAN);
        int area = 0;
        for (int each : array.values()) {
            bytes.putShort((short) each);
            area += each != 0 ? 1 : 0;
        }
        return described(form, "uint16", array.shape(), bytes, "area", area);
    }

    private static Map<String, Object> described(
            String form, String dtype, int[] shape, ByteBuffer bytes, String last, Object value) {
        Map<String, Object> about = new LinkedHashMap<>();
        about.put("sent", form);
        about.put("dtype", dtype);
        about.put("shape", shape);
        try {
            about.put("sha256", HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes.array())));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
        about.put(last, value);
        return about;
    }
}
