package featsvc.conformance;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import featsvc.ConnectOptions;
import featsvc.FeatsvcClient;
import featsvc.FeatsvcException;
import featsvc.RetryPolicy;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Asks the cases of a file and prints a line of JSON about each question: ADDRESS CASES.json [API_KEY]. */
public final class Main {
    /** Waits for a server that is restarted meanwhile. */
    private static final RetryPolicy PATIENT =
            new RetryPolicy(60, Duration.ofMillis(100), Duration.ofSeconds(1), 2, 0.5);

    private Main() {}

    /** One call of the case file. */
    record Case(String name, String rpc, List<Asked> questions, String apiKey, Duration limit, boolean paced) {
        static Case of(JsonObject line) {
            List<Asked> questions = new ArrayList<>();
            for (JsonElement each : line.getAsJsonArray("questions")) {
                JsonObject asked = each.getAsJsonObject();
                questions.add(new Asked(asked.get("id").getAsString(), asked.getAsJsonObject("request")));
            }
            Duration limit = Duration.ofNanos((long) (line.get("timeout_s").getAsDouble() * 1e9));
            return new Case(
                    line.get("name").getAsString(), line.get("rpc").getAsString(), questions,
                    line.get("api_key").getAsString(), limit, line.get("paced").getAsBoolean());
        }

        List<String> names() {
            return questions.stream().map(each -> each.id().isEmpty() ? name : name + "/" + each.id()).toList();
        }
    }

    /** One request, as protobuf JSON. */
    record Asked(String id, JsonObject request) {}

    public static void main(String[] arguments) throws IOException {
        if (arguments.length < 2) {
            System.err.println("usage: ADDRESS CASES.json [API_KEY]");
            System.exit(2);
        }
        Gson gson = new Gson();
        ConnectOptions options = ConnectOptions.DEFAULT.withRetry(PATIENT);
        if (arguments.length > 2) {
            options = options.withApiKey(arguments[2]);
        }
        for (JsonElement line : JsonParser.parseString(Files.readString(Path.of(arguments[1]))).getAsJsonArray()) {
            Case each = Case.of(line.getAsJsonObject());
            ConnectOptions own = each.apiKey().isEmpty() ? options : options.withApiKey(each.apiKey());
            try (FeatsvcClient client = FeatsvcClient.connect(arguments[0], own.withDeadline(each.limit()))) {
                for (Map<String, Object> printed : Asking.lines(client, each)) {
                    System.out.println(gson.toJson(printed));
                    System.out.flush();
                }
            }
        }
    }

    /** The line about an error. */
    static Map<String, Object> refused(String name, FeatsvcException error) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("name", name);
        line.put("code", error.code().name());
        line.put("fields", error.violations().stream().map(FeatsvcException.Violation::field).toList());
        line.put("retry_after", !error.retryAfter().isZero());
        return line;
    }

    /** The line about an answer. */
    static Map<String, Object> answered(String name, String model, Map<String, Object> arrays) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("name", name);
        line.put("code", "OK");
        line.put("model", model);
        line.put("arrays", arrays);
        return line;
    }
}
