#!/bin/sh
# apt-get install golang-go golang-gomega-dev
cd "$(dirname "$0")/gomega" || exit 1
python3 ../fakes/fakebox.py 9802 2>fakebox.log & server=$!
trap 'kill $server' EXIT
sleep 0.5
rm -f go.mod
mkdir -p gopath/src && ln -sfn "$PWD" gopath/src/compared
cd gopath/src/compared && GO111MODULE=off GOFLAGS= GOPATH="$PWD/gopath:/usr/share/gocode" timeout 300 go test -count=1 -v . 
