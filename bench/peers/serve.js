// Serves a CouchDB made of PouchDB on a free port, and prints its address.
//
//     node serve.js FOLDER
const express = require('express');
const PouchDB = require('pouchdb').defaults({ prefix: process.argv[2] + '/' });

const app = express();
app.use('/', require('express-pouchdb')(PouchDB, { mode: 'minimumForPouchDB', logPath: process.argv[2] + '/log.txt' }));
const server = app.listen(0, '127.0.0.1', () => console.log('http://127.0.0.1:' + server.address().port));
