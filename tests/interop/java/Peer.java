import io.aeron.Aeron;
import io.aeron.ExclusivePublication;
import io.aeron.FragmentAssembler;
import io.aeron.Publication;
import io.aeron.Subscription;
import io.aeron.driver.MediaDriver;
import io.aeron.driver.ThreadingMode;
import io.aeron.logbuffer.BufferClaim;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.MessageDigest;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.locks.LockSupport;
import org.agrona.DirectBuffer;
import org.agrona.MutableDirectBuffer;
import org.agrona.concurrent.UnsafeBuffer;

/**
 * The real Java client and driver in a process of their own. The same roles, options, messages and JSON lines as
 * pyaeron_peer.py and pillion_peer.py; time-outs of the driver are given as -Daeron.* properties.
 */
public final class Peer
{
    private static final int LARGEST_CLAIM = 1000;

    private final Map<String, String> options = new HashMap<>();
    private final long deadlineNs;

    private Peer(final String[] args)
    {
        for (int i = 1; i < args.length; i++)
        {
            final String name = args[i].substring(2);
            options.put(name, "hang".equals(name) ? "true" : args[++i]);
        }
        deadlineNs = System.nanoTime() + (long)(Double.parseDouble(option("timeout", "60")) * 1e9);
    }

    private String option(final String name, final String otherwise)
    {
        return options.getOrDefault(name, otherwise);
    }

    private int number(final String name)
    {
        return Integer.parseInt(option(name, "0"));
    }

    private boolean isLate()
    {
        return System.nanoTime() - deadlineNs > 0;
    }

    private static void say(final String fields)
    {
        System.out.println("{" + fields + "}");
        System.out.flush();
    }

    private static void ready()
    {
        say("\"event\": \"ready\", \"pid\": " + ProcessHandle.current().pid());
    }

    /** The rule of messages.py. */
    private static int lengthOf(final int index, final int largest)
    {
        if (index < 2)
        {
            return largest * index;
        }
        if (index % 1000 == 0)
        {
            return largest;
        }
        final long spread = (index * 2654435761L) & 0xFFFFFFFFL;
        return (int)Math.min(largest, spread % (index % 50 != 0 ? 200 : 5000));
    }

    private static int write(final int index, final int largest, final MutableDirectBuffer buffer, final int offset)
    {
        final int length = lengthOf(index, largest);
        int at = 0;
        for (; at + 8 <= length; at += 8)
        {
            buffer.putLong(offset + at, index, ByteOrder.LITTLE_ENDIAN);
        }
        for (; at < length; at++)
        {
            buffer.putByte(offset + at, (byte)((long)index >> 8 * (at & 7)));
        }
        return length;
    }

    private void driver() throws Exception
    {
        final MediaDriver.Context context = new MediaDriver.Context()
            .aeronDirectoryName(option("dir", null))
            .threadingMode(ThreadingMode.SHARED);
        final CountDownLatch end = new CountDownLatch(1);
        final MediaDriver driver = MediaDriver.launch(context);
        Runtime.getRuntime().addShutdownHook(new Thread(driver::close));
        ready();
        end.await();
    }

    private Aeron connect()
    {
        return Aeron.connect(new Aeron.Context().aeronDirectoryName(option("dir", null)));
    }

    private interface Offer
    {
        long of(int index);
    }

    private void publish() throws IOException
    {
        final String mode = option("mode", "concurrent");
        final boolean isExclusive = "exclusive".equals(mode);
        final boolean isClaim = "claim".equals(mode);
        final int count = number("count");
        final int largest = number("largest");
        final UnsafeBuffer buffer = new UnsafeBuffer(new byte[Math.max(largest, 1)]);
        try (Aeron aeron = connect();
            Publication publication = isExclusive ? null :
                aeron.addPublication(option("channel", "aeron:ipc"), Integer.parseInt(option("stream", "1001")));
            ExclusivePublication exclusive = !isExclusive ? null :
                aeron.addExclusivePublication(
                    option("channel", "aeron:ipc"), Integer.parseInt(option("stream", "1001"))))
        {
            final BufferClaim claim = new BufferClaim();
            final Offer offer = (index) ->
            {
                final int length = lengthOf(index, largest);
                if (isClaim && length <= LARGEST_CLAIM)
                {
                    final long position = publication.tryClaim(length, claim);
                    if (position > 0)
                    {
                        write(index, largest, claim.buffer(), claim.offset());
                        claim.commit();
                    }
                    return position;
                }
                write(index, largest, buffer, 0);
                final long reserved = isClaim ? 0 : index;
                return isExclusive ?
                    exclusive.offer(buffer, 0, length, (term, offset, frameLength) -> reserved) :
                    publication.offer(buffer, 0, length, (term, offset, frameLength) -> reserved);
            };
            ready();
            for (int index = 0; index < count; index++)
            {
                long position;
                while ((position = offer.of(index)) < 0)
                {
                    if (isLate())
                    {
                        say("\"event\": \"failed\", \"index\": " + index + ", \"code\": " + position);
                        System.exit(1);
                    }
                    LockSupport.parkNanos(20_000);
                }
            }
            say("\"event\": \"published\", \"count\": " + count);
            awaitEnd();
        }
    }

    private void subscribe() throws Exception
    {
        final int count = number("count");
        final MessageDigest sha = MessageDigest.getInstance("SHA-256");
        final ByteBuffer lengthBuffer = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN);
        final long[] seen = new long[2];
        try (Aeron aeron = connect();
            Subscription subscription = aeron.addSubscription(
                option("channel", "aeron:ipc"), Integer.parseInt(option("stream", "1001"))))
        {
            final FragmentAssembler assembler = new FragmentAssembler(
                (final DirectBuffer buffer, final int offset, final int length, final io.aeron.logbuffer.Header header) ->
                {
                    final byte[] payload = new byte[length];
                    buffer.getBytes(offset, payload);
                    lengthBuffer.putInt(0, length);
                    sha.update(lengthBuffer.array());
                    sha.update(payload);
                    seen[0]++;
                    seen[1] += header.reservedValue();
                });
            ready();
            while (seen[0] < count && !isLate())
            {
                if (subscription.poll(assembler, 64) == 0)
                {
                    LockSupport.parkNanos(20_000);
                }
            }
            final StringBuilder digest = new StringBuilder();
            for (final byte value : sha.digest())
            {
                digest.append(String.format("%02x", value));
            }
            say("\"event\": \"received\", \"count\": " + seen[0] + ", \"reserved\": " + seen[1] +
                ", \"digest\": \"" + digest + "\"");
            if (options.containsKey("hang"))
            {
                awaitEnd();
            }
        }
    }

    /** Whoever started us closes our standard input when we may go. */
    private static void awaitEnd() throws IOException
    {
        while (System.in.read() >= 0)
        {
            Thread.onSpinWait();
        }
    }

    public static void main(final String[] args) throws Exception
    {
        final Peer peer = new Peer(args);
        switch (args[0])
        {
            case "driver":
                peer.driver();
                break;
            case "publish":
                peer.publish();
                break;
            default:
                peer.subscribe();
                break;
        }
    }
}
