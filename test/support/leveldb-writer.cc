// Writes a database with Google's LevelDB, for tests that must not depend on how classic-level builds it.
//
//   leveldb-writer FOLDER [name=number ...]
//
// count, first: keys to write and the number of the first; valueBytes; deleteEvery: delete every n-th key afterwards;
// snappy, bloom, reuseLogs, reverse: 0 or 1; writeBuffer, blockSize: bytes; compact: 1 compacts at the end;
// forever: 1 goes on writing batches until it is killed, a line on stdout after each thousand; span: so many keys, over and over.

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include <leveldb/comparator.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/options.h>
#include <leveldb/write_batch.h>

namespace {

class Reverse : public leveldb::Comparator {
 public:
  int Compare(const leveldb::Slice& a, const leveldb::Slice& b) const override { return b.compare(a); }
  const char* Name() const override { return "test.Reverse"; }
  void FindShortestSeparator(std::string*, const leveldb::Slice&) const override {}
  void FindShortSuccessor(std::string*) const override {}
};

std::string Key(long number) {
  char key[32];
  std::snprintf(key, sizeof key, "key-%010ld", number);
  return key;
}

void Check(const leveldb::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, long> settings = {{"count", 0}, {"first", 0}, {"valueBytes", 100}, {"snappy", 1}};
  for (int i = 2; i < argc; i++) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    settings[argument.substr(0, equals)] = std::atol(argument.c_str() + equals + 1);
  }

  Reverse reverse;
  std::unique_ptr<const leveldb::FilterPolicy> bloom(leveldb::NewBloomFilterPolicy(10));
  leveldb::Options options;
  options.create_if_missing = true;
  options.compression = settings["snappy"] ? leveldb::kSnappyCompression : leveldb::kNoCompression;
  options.reuse_logs = settings["reuseLogs"] != 0;
  if (settings["bloom"]) options.filter_policy = bloom.get();
  if (settings["reverse"]) options.comparator = &reverse;
  if (settings["writeBuffer"]) options.write_buffer_size = settings["writeBuffer"];
  if (settings["blockSize"]) options.block_size = settings["blockSize"];

  leveldb::DB* opened = nullptr;
  Check(leveldb::DB::Open(options, argv[1], &opened));
  std::unique_ptr<leveldb::DB> db(opened);

  const long first = settings["first"], end = first + settings["count"];
  for (long number = first; number < end || settings["forever"]; number++) {
    const std::string value(settings["valueBytes"], static_cast<char>('a' + number % 26));
    Check(db->Put(leveldb::WriteOptions(), Key(settings["span"] ? number % settings["span"] : number), value));
    if (settings["forever"] && number % 1000 == 999) {
      std::printf("%ld\n", number);
      std::fflush(stdout);
    }
  }
  for (long number = first; settings["deleteEvery"] && number < end; number += settings["deleteEvery"]) {
    Check(db->Delete(leveldb::WriteOptions(), Key(number)));
  }
  if (settings["compact"]) db->CompactRange(nullptr, nullptr);
  return 0;
}
