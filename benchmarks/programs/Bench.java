import io.aeron.Aeron;
import io.aeron.ExclusivePublication;
import io.aeron.Subscription;
import io.aeron.logbuffer.FragmentHandler;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.agrona.concurrent.UnsafeBuffer;

/** The Java client in a process of its own: the roles, options and JSON lines of common.py. */
public final class Bench
{
    private static final int FRAGMENT_LIMIT = 256;
    private static final FragmentHandler EMPTY_HANDLER = (buffer, offset, length, header) -> {};

    private final BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
    private final String options;
    private final boolean yields;
    private final UnsafeBuffer message;
    private long[] latenciesNs;

    private Bench(final String options)
    {
        this.options = options;
        yields = "true".equals(option("yields"));
        message = new UnsafeBuffer(ByteBuffer.allocateDirect(number("length")));
    }

    /** A value of the flat JSON object that the options are. */
    private String option(final String name)
    {
        final Matcher matcher = Pattern.compile("\"" + name + "\": (?:\"([^\"]*)\"|([^,}]*))").matcher(options);
        if (!matcher.find())
        {
            throw new IllegalArgumentException("no option " + name + " in " + options);
        }
        return matcher.group(1) != null ? matcher.group(1) : matcher.group(2);
    }

    private int number(final String name)
    {
        return Integer.parseInt(option(name));
    }

    private static void say(final String event, final String fields)
    {
        System.out.println("{\"event\": \"" + event + "\"" + fields + "}");
        System.out.flush();
    }

    private void awaitGo() throws IOException
    {
        if (!"go".equals(input.readLine()))
        {
            System.exit(0);
        }
    }

    private void idle()
    {
        if (yields)
        {
            Thread.yield();
        }
        else
        {
            Thread.onSpinWait();
        }
    }

    private void offer(final ExclusivePublication publication)
    {
        while (publication.offer(message) < 0)
        {
            idle();
        }
    }

    private void await(final Subscription subscription, final FragmentHandler handler, final int count)
    {
        int received = 0;
        while (received < count)
        {
            final int fragments = subscription.poll(handler, 10);
            received += fragments;
            if (fragments == 0)
            {
                idle();
            }
        }
    }

    private ExclusivePublication publication(final Aeron aeron, final String channel, final String stream)
    {
        return aeron.addExclusivePublication(option(channel), number(stream));
    }

    private void publish(final Aeron aeron) throws IOException
    {
        final ExclusivePublication publication = publication(aeron, "channel", "stream");
        say("ready", "");
        publishMany(publication, number("warm_up"));
        say("warm", "");
        awaitGo();
        publishMany(publication, number("count"));
        say("published", "");
    }

    private void publishMany(final ExclusivePublication publication, final int count)
    {
        for (int i = 0; i < count; i++)
        {
            offer(publication);
        }
    }

    private void subscribe(final Aeron aeron) throws IOException
    {
        final Subscription subscription = aeron.addSubscription(option("channel"), number("stream"));
        say("ready", "");
        receive(subscription, number("warm_up"));
        say("warm", "");
        awaitGo();
        say("going", "");
        final long[] result = receive(subscription, number("count"));
        say("result", String.format(Locale.ROOT, ", \"messages\": %d, \"elapsed_ns\": %d", result[0], result[1]));
    }

    private long[] receive(final Subscription subscription, final int count)
    {
        int first;
        while ((first = subscription.poll(EMPTY_HANDLER, FRAGMENT_LIMIT)) == 0)
        {
            idle();
        }
        final long startNs = System.nanoTime();
        int received = first;
        while (received < count)
        {
            final int fragments = subscription.poll(EMPTY_HANDLER, FRAGMENT_LIMIT);
            received += fragments;
            if (fragments == 0)
            {
                idle();
            }
        }
        return new long[] {received - first, System.nanoTime() - startNs};
    }

    private void ping(final Aeron aeron) throws IOException
    {
        final Subscription subscription = aeron.addSubscription(option("pong_channel"), number("pong_stream"));
        final ExclusivePublication publication = publication(aeron, "channel", "stream");
        say("ready", "");
        pingMany(publication, subscription, number("warm_up"));
        say("warm", "");
        awaitGo();
        pingMany(publication, subscription, number("count"));
        Arrays.sort(latenciesNs);
        say("result", String.format(
            Locale.ROOT,
            ", \"count\": %d, \"min\": %d, \"p50\": %d, \"p90\": %d, \"p99\": %d, \"p99.9\": %d, \"max\": %d",
            latenciesNs.length, latenciesNs[0], percentile(500), percentile(900), percentile(990), percentile(999),
            latenciesNs[latenciesNs.length - 1]));
    }

    private long percentile(final int permille)
    {
        return latenciesNs[(int)((latenciesNs.length * (long)permille + 999) / 1000) - 1];
    }

    private void pingMany(final ExclusivePublication publication, final Subscription subscription, final int count)
    {
        latenciesNs = new long[count];
        for (int i = 0; i < count; i++)
        {
            final long sentNs = System.nanoTime();
            offer(publication);
            await(subscription, EMPTY_HANDLER, 1);
            latenciesNs[i] = System.nanoTime() - sentNs;
        }
    }

    private void pong(final Aeron aeron) throws IOException
    {
        final Subscription subscription = aeron.addSubscription(option("channel"), number("stream"));
        final ExclusivePublication publication = publication(aeron, "pong_channel", "pong_stream");
        final FragmentHandler handler = (buffer, offset, length, header) ->
        {
            while (publication.offer(buffer, offset, length) < 0)
            {
                idle();
            }
        };
        say("ready", "");
        await(subscription, handler, number("warm_up"));
        say("warm", "");
        awaitGo();
        say("going", "");
        await(subscription, handler, number("count"));
        say("ponged", "");
    }

    public static void main(final String[] args) throws IOException
    {
        if ("versions".equals(args[0]))
        {
            say("versions", String.format(
                ", \"java\": \"%s\", \"aeron Java\": \"%s\"",
                System.getProperty("java.version"), io.aeron.AeronVersion.VERSION));
            return;
        }
        final Bench bench = new Bench(args[1]);
        try (Aeron aeron = Aeron.connect(new Aeron.Context().aeronDirectoryName(bench.option("dir"))))
        {
            switch (args[0])
            {
                case "publish" -> bench.publish(aeron);
                case "subscribe" -> bench.subscribe(aeron);
                case "ping" -> bench.ping(aeron);
                case "pong" -> bench.pong(aeron);
                default -> throw new IllegalArgumentException(args[0]);
            }
            while (bench.input.readLine() != null)
            {
                // Stay until the runner has what it wants.
            }
        }
    }
}
