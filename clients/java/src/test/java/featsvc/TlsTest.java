package featsvc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import featsvc.ConnectOptions.Tls;
import featsvc.v1.DinoServiceExtractFeaturesRequest;
import featsvc.v1.DinoServiceGrpc;
import io.grpc.Status;
import io.grpc.TlsServerCredentials;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Key;
import java.security.KeyStore;
import java.util.Base64;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class TlsTest {
    private static final char[] PASSWORD = "changeit".toCharArray();

    @TempDir
    Path folder;

    private Path written(String kind, byte[] content) throws Exception {
        String text = Base64.getMimeEncoder(64, "\n".getBytes()).encodeToString(content);
        String pem = "-----BEGIN " + kind + "-----\n" + text + "\n-----END " + kind + "-----\n";
        return Files.writeString(folder.resolve(kind + ".pem"), pem);
    }

    /** A self-signed certificate of 127.0.0.1 and its key, which Java makes only by its own tool. */
    private Tls files() throws Exception {
        Path store = folder.resolve("store");
        Process tool = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "keytool").toString(), "-genkeypair",
                        "-alias", "own", "-keyalg", "EC", "-dname", "CN=test", "-ext", "san=ip:127.0.0.1",
                        "-ext", "bc=ca:true", "-storetype", "PKCS12", "-keystore", store.toString(),
                        "-storepass", new String(PASSWORD))
                .redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
        assertEquals(0, tool.waitFor());
        KeyStore keys = KeyStore.getInstance("PKCS12");
        try (InputStream content = Files.newInputStream(store)) {
            keys.load(content, PASSWORD);
        }
        Key key = keys.getKey("own", PASSWORD);
        Path certificate = written("CERTIFICATE", keys.getCertificate("own").getEncoded());
        return new Tls(certificate, certificate, written("PRIVATE KEY", key.getEncoded()));
    }

    @Test
    void aServerThatAsksForACertificateIsReachedWithOneOnly() throws Exception {
        Tls own = files();
        var credentials = TlsServerCredentials.newBuilder()
                .keyManager(own.certificate().toFile(), own.privateKey().toFile())
                .trustManager(own.authority().toFile())
                .clientAuth(TlsServerCredentials.ClientAuth.REQUIRE)
                .build();
        try (var server = new Scripted(credentials)) {
            server.extract = request -> Scripted.features((byte) 7);
            assertEquals(Status.Code.OK, code(server, own));
            assertEquals(Status.Code.UNAVAILABLE, code(server, new Tls(own.authority(), null, null)));
            assertEquals(Status.Code.UNAVAILABLE, code(server, new Tls(null, null, null)));
            assertEquals(Status.Code.UNAVAILABLE, code(server, null));
        }
    }

    private static Status.Code code(Scripted server, Tls files) {
        try {
            server.client(ConnectOptions.DEFAULT.withTls(files).withRetry(RetryPolicy.NEVER)).call(
                    DinoServiceGrpc.getExtractFeaturesMethod(), DinoServiceExtractFeaturesRequest.getDefaultInstance());
            return Status.Code.OK;
        } catch (FeatsvcException e) {
            return e.code();
        }
    }

    @Test
    void aFileThatIsNoCertificateIsAnErrorAtOnce() throws Exception {
        Path nothing = written("NOTHING", new byte[0]);
        Path missing = Path.of("no such file");
        for (Tls bad : new Tls[] {
            new Tls(nothing, null, null), new Tls(missing, null, null), new Tls(null, missing, missing)
        }) {
            ConnectOptions options = ConnectOptions.DEFAULT.withTls(bad);
            assertThrows(RuntimeException.class, () -> FeatsvcClient.connect("127.0.0.1:1", options));
        }
    }
}
