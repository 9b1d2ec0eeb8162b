// Writes a database with goleveldb: FOLDER COUNT. A count of 0 goes on until it is killed, a line on stdout after each 500 keys.
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	count, err := strconv.Atoi(os.Args[2])
	check(err)
	db, err := leveldb.OpenFile(os.Args[1], &opt.Options{Filter: filter.NewBloomFilter(10), WriteBuffer: 256 * 1024})
	check(err)
	for i := 0; count == 0 || i < count; i++ {
		key := []byte(fmt.Sprintf("key-%010d", i*7919%100000))
		check(db.Put(key, []byte(fmt.Sprintf("%0120d", i)), nil))
		if i%5 == 4 {
			check(db.Delete(key, nil))
		}
		if i%500 == 499 {
			fmt.Println(i)
		}
	}
	check(db.Close())
}
