// A guarded page and an open rest on Express; see ../README.md.
import express from "express";

const app = express();
app.use("/admin", (request, response) => response.send("GUARDED"));
app.get("/exact", (request, response) => response.send("GUARDED"));
app.use((request, response) => response.send("open"));
const server = app.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ port: server.address().port }));
});
