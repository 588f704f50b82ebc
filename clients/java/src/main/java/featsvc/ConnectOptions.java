package featsvc;

import java.nio.file.Path;
import java.time.Duration;

/**
 * How to connect. {@link #DEFAULT} is good for a server on this machine.
 *
 * @param apiKey is sent with every call
 * @param tls the files of a connection with TLS; null: one without
 * @param deadline how long each call may take, all its attempts together; null: for ever
 * @param maxMessageBytes the limit of messages in both directions
 * @param retry when a failed call is tried again
 */
public record ConnectOptions(String apiKey, Tls tls, Duration deadline, int maxMessageBytes, RetryPolicy retry) {
    /** The key of a server on loopback that was given none of its own; no TLS, no deadline and no limit. */
    public static final ConnectOptions DEFAULT =
            new ConnectOptions("smfeats", null, null, Integer.MAX_VALUE, RetryPolicy.DEFAULT);

    /**
     * The PEM files of a connection with TLS.
     *
     * @param authority the certificate of the authority that signed the server's; null: those that Java trusts
     * @param certificate the client's own certificate, for servers that ask for one; else null
     * @param privateKey its key, PKCS 8; else null
     */
    public record Tls(Path authority, Path certificate, Path privateKey) {}

    /**
     * The same with another key.
     *
     * @param key the key
     * @return the options
     */
    public ConnectOptions withApiKey(String key) {
        return new ConnectOptions(key, tls, deadline, maxMessageBytes, retry);
    }

    /**
     * The same with TLS.
     *
     * @param files the PEM files
     * @return the options
     */
    public ConnectOptions withTls(Tls files) {
        return new ConnectOptions(apiKey, files, deadline, maxMessageBytes, retry);
    }

    /**
     * The same with a deadline.
     *
     * @param limit how long each call may take
     * @return the options
     */
    public ConnectOptions withDeadline(Duration limit) {
        return new ConnectOptions(apiKey, tls, limit, maxMessageBytes, retry);
    }

    /**
     * The same with a limit of messages.
     *
     * @param bytes the most bytes of a message
     * @return the options
     */
    public ConnectOptions withMaxMessageBytes(int bytes) {
        return new ConnectOptions(apiKey, tls, deadline, bytes, retry);
    }

    /**
     * The same with another policy.
     *
     * @param policy the policy
     * @return the options
     */
    public ConnectOptions withRetry(RetryPolicy policy) {
        return new ConnectOptions(apiKey, tls, deadline, maxMessageBytes, policy);
    }
}
