import java.io.File;
import org.iq80.leveldb.DB;
import org.iq80.leveldb.Options;
import org.iq80.leveldb.impl.Iq80DBFactory;

/** Writes a database with iq80's LevelDB: FOLDER COUNT. A count of 0 goes on until it is killed, a line on stdout after each 500 keys. */
public class Iq80Writer {
  public static void main(String[] args) throws Exception {
    int count = Integer.parseInt(args[1]);
    DB db = Iq80DBFactory.factory.open(new File(args[0]), new Options().writeBufferSize(256 * 1024));
    for (int i = 0; count == 0 || i < count; i++) {
      byte[] key = String.format("key-%010d", i * 7919L % 100000).getBytes();
      db.put(key, String.format("%0120d", i).getBytes());
      if (i % 5 == 4) db.delete(key);
      if (i % 500 == 499) System.out.println(i);
    }
    db.close();
  }
}
